//! Does docs/kubernetes-behaviour.md say of every field of the API what it does here? A release of
//! Kubernetes that brings a new one fails here until somebody has decided.

use std::collections::BTreeSet;

use k8s_openapi::api::core::v1 as core;
use k8s_openapi::api::discovery::v1 as discovery;
use serde::de::value::Error;
use serde::de::{Deserialize, Deserializer, Error as _, Visitor};

const PAGE: &str = concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/../docs/kubernetes-behaviour.md"
);
/// What every object has.
const OF_ALL: [&str; 3] = ["apiVersion", "kind", "metadata"];

/// Hears which fields a type asks for, and has none.
struct Listener(Vec<&'static str>);

impl<'de> Deserializer<'de> for &mut Listener {
    type Error = Error;

    fn deserialize_any<V: Visitor<'de>>(self, _: V) -> Result<V::Value, Error> {
        Err(Error::custom("it is no struct"))
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        fields: &'static [&'static str],
        _visitor: V,
    ) -> Result<V::Value, Error> {
        self.0.extend(fields);
        Err(Error::custom("that was to be heard"))
    }

    serde::forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option
        unit unit_struct newtype_struct seq tuple tuple_struct map enum identifier ignored_any
    }
}

fn fields<T: for<'de> Deserialize<'de>>() -> Vec<&'static str> {
    let mut listener = Listener(Vec::new());
    assert!(T::deserialize(&mut listener).is_err());
    assert!(!listener.0.is_empty(), "{}", std::any::type_name::<T>());
    listener.0
}

/// The words of what stands in backticks.
fn named(page: &str) -> BTreeSet<&str> {
    let code = page.split('`').skip(1).step_by(2);
    code.flat_map(|code| code.split(|char: char| !char.is_ascii_alphanumeric()))
        .collect()
}

#[test]
fn every_field_of_the_api_is_documented() {
    let page = std::fs::read_to_string(PAGE).expect(PAGE);
    let named = named(&page);
    for (kind, fields) in [
        ("ServiceSpec", fields::<core::ServiceSpec>()),
        ("ServicePort", fields::<core::ServicePort>()),
        ("LoadBalancerIngress", fields::<core::LoadBalancerIngress>()),
        ("EndpointSlice", fields::<discovery::EndpointSlice>()),
        ("Endpoint", fields::<discovery::Endpoint>()),
        (
            "EndpointConditions",
            fields::<discovery::EndpointConditions>(),
        ),
        ("EndpointHints", fields::<discovery::EndpointHints>()),
        ("EndpointPort", fields::<discovery::EndpointPort>()),
    ] {
        let missing = fields.into_iter();
        let missing = missing.filter(|field| !OF_ALL.contains(field) && !named.contains(field));
        let missing: Vec<_> = missing.collect();
        assert_eq!(missing, [""; 0], "{kind}: say in {PAGE} what it does");
    }
}
