//! What does one object of the API say, and in which version?

use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::input::declared::{Key, Kind, Object};
use crate::input::findings::{Finding, Findings};
use crate::input::kubernetes::{self, Written};
use crate::model::ObjectName;

/// An object as it was decoded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Reading {
    /// Its name.
    pub(super) name: ObjectName,
    /// `metadata.resourceVersion`: the same as before means that nothing changed.
    pub(super) version: String,
    /// What it says.
    pub(super) said: Said,
    /// What is to be said about its fields.
    pub(super) findings: Vec<Finding>,
}

/// What an object says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Said {
    /// This.
    Object(Object),
    /// Nothing that concerns us.
    Nothing,
    /// Nothing that could be served: what it said before counts on.
    Refused,
}

#[derive(Deserialize)]
struct Identified {
    metadata: Metadata,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Metadata {
    #[serde(default)]
    namespace: String,
    name: String,
    #[serde(default)]
    resource_version: String,
}

/// Reads an object.
///
/// # Errors
/// It has no name, so that there is nothing to be said about it.
pub(super) fn read(kind: Kind, json: &str) -> Result<Reading, serde_json::Error> {
    let Identified { metadata } = serde_json::from_str(json)?;
    let name = ObjectName::new(metadata.namespace, metadata.name);
    let key = Key { kind, name };
    let mut findings = Findings::default();
    let object = kubernetes::declare(&key, Json(json), &mut findings);
    let said = match object {
        _ if !findings.refusals.is_empty() => Said::Refused,
        Some(object) => Said::Object(object),
        None => Said::Nothing,
    };
    let Findings { refusals, remarks } = findings;
    Ok(Reading {
        name: key.name,
        version: metadata.resource_version,
        said,
        findings: refusals.into_iter().chain(remarks).collect(),
    })
}

/// An object as the API server sends it.
struct Json<'a>(&'a str);

impl Written for Json<'_> {
    fn typed<T: DeserializeOwned>(self, findings: &mut Findings) -> Option<T> {
        let typed = serde_json::from_str(self.0);
        if let Err(error) = &typed {
            findings.refuse("", format!("{error}; write it as the API has it"));
        }
        typed.ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_service_is_read_as_its_manifest_would_be() {
        let json = r#"{"metadata": {"namespace": "default", "name": "kubia", "resourceVersion": "7",
            "managedFields": [{"manager": "kubectl"}]}, "spec": {"type": "LoadBalancer",
            "clusterIP": "10.43.165.39", "loadBalancerIP": "78.11.24.19", "ports": [{"port": 80}]},
            "status": {"loadBalancer": {"ingress": [{"ip": "146.148.47.155"}]}}}"#;
        let reading = read(Kind::Service, json).expect("readable");
        assert_eq!(reading.name, ObjectName::new("default", "kubia"));
        assert_eq!(reading.version, "7");
        assert_eq!(reading.findings, []);
        let Said::Object(Object::Service(service)) = reading.said else {
            panic!("{:?}", reading.said);
        };
        // The provider in a cluster is another: its answer counts, not what it was asked for.
        let given: Vec<_> = service.model.load_balancer_ips.clone();
        assert_eq!(
            given,
            ["146.148.47.155".parse::<std::net::IpAddr>().unwrap()]
        );
    }

    #[test]
    fn an_object_that_cannot_be_read_keeps_its_name_and_says_why() {
        let json = r#"{"metadata": {"namespace": "default", "name": "odd", "resourceVersion": "8"},
            "spec": {"ports": "many"}}"#;
        let reading = read(Kind::Service, json).expect("it has a name");
        assert_eq!(reading.said, Said::Refused);
        assert!(
            reading.findings[0].why.contains("invalid type"),
            "{reading:?}"
        );
        assert!(read(Kind::Service, r#"{"metadata": {}}"#).is_err());
    }

    #[test]
    fn slices_of_host_names_say_nothing() {
        let json = r#"{"metadata": {"namespace": "default", "name": "far", "resourceVersion": "9"},
            "addressType": "FQDN", "endpoints": []}"#;
        let reading = read(Kind::EndpointSlice, json).expect("readable");
        assert_eq!(reading.said, Said::Nothing);
    }
}
