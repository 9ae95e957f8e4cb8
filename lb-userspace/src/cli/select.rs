//! Which records were asked for? Pure, for every kind of them.

use super::error::CliError;
use super::view::Record;

/// What was asked for.
#[derive(Clone, Debug, Default)]
pub struct Query {
    /// Only this namespace; none = all of them.
    pub namespace: Option<String>,
    /// Only what belongs to this Service.
    pub service: Option<String>,
    /// Only what is called so; empty = everything.
    pub names: Vec<String>,
    /// At most so many.
    pub limit: Option<usize>,
}

/// What there is of it.
#[derive(Debug)]
pub struct Selection<R> {
    /// The records.
    pub records: Vec<R>,
    /// How many the limit left out.
    pub beyond_limit: usize,
    /// How many there are in other namespaces.
    pub elsewhere: usize,
    /// A name that nothing has.
    pub missing: Option<CliError>,
}

/// Selects what was asked for. What has no namespace, such as a node, belongs to all.
#[must_use]
pub fn select<R: Record>(records: Vec<R>, query: &Query) -> Selection<R> {
    let is_here = |record: &R| match &query.namespace {
        Some(namespace) => {
            let of_record = &record.object().namespace;
            of_record.is_empty() || of_record == namespace
        }
        None => true,
    };
    let is_of_service = |record: &R| {
        query
            .service
            .as_ref()
            .is_none_or(|name| record.object().name == *name)
    };
    let of_service: Vec<R> = records.into_iter().filter(|r| is_of_service(r)).collect();
    let missing = query.names.iter().find_map(|name| {
        let called = || of_service.iter().filter(|record| record.is_called(name));
        (!called().any(is_here)).then(|| CliError::NotFound {
            kind: R::KIND,
            name: name.clone(),
            namespace: query.namespace.clone(),
            elsewhere: called()
                .map(|record| record.object().namespace.to_string())
                .next(),
        })
    });
    let total = of_service.len();
    let mut records: Vec<R> = of_service.into_iter().filter(is_here).collect();
    let elsewhere = total - records.len();
    if !query.names.is_empty() {
        records.retain(|record| query.names.iter().any(|name| record.is_called(name)));
    }
    let beyond_limit = query
        .limit
        .map_or(0, |limit| records.len().saturating_sub(limit));
    records.truncate(records.len() - beyond_limit);
    Selection {
        records,
        beyond_limit,
        elsewhere,
        missing,
    }
}

#[cfg(test)]
mod tests {
    use super::super::view::{Column, Record};
    use super::*;
    use crate::model::ObjectName;

    #[derive(Debug, serde::Serialize)]
    struct Thing(ObjectName);

    impl Record for Thing {
        const KIND: &'static str = "thing";
        const COLUMNS: &'static [Column<Self>] = &[];

        fn object(&self) -> &ObjectName {
            &self.0
        }

        fn name(&self) -> String {
            self.0.name.to_string()
        }
    }

    fn things() -> Vec<Thing> {
        [
            ("default", "kubia"),
            ("default", "dns"),
            ("shop", "cart"),
            ("", "eth0"),
        ]
        .map(|(namespace, name)| Thing(ObjectName::new(namespace, name)))
        .into()
    }

    fn names(query: &Query) -> Vec<String> {
        let records = select(things(), query).records;
        records.iter().map(Record::name).collect()
    }

    #[test]
    fn a_namespace_and_what_has_none() {
        let query = Query {
            namespace: Some("default".to_owned()),
            ..Query::default()
        };
        assert_eq!(names(&query), ["kubia", "dns", "eth0"]);
        assert_eq!(select(things(), &query).elsewhere, 1);
        assert_eq!(names(&Query::default()).len(), 4);
    }

    #[test]
    fn a_limit_says_how_much_it_left_out() {
        let query = Query {
            limit: Some(1),
            ..Query::default()
        };
        assert_eq!(names(&query), ["kubia"]);
        assert_eq!(select(things(), &query).beyond_limit, 3);
    }

    #[test]
    fn a_name_in_another_namespace_is_told_where_it_is() {
        let query = Query {
            namespace: Some("default".to_owned()),
            names: vec!["kubia".to_owned(), "cart".to_owned()],
            ..Query::default()
        };
        let selection = select(things(), &query);
        assert_eq!(selection.records.len(), 1);
        assert_eq!(
            selection.missing.expect("an error").to_string(),
            r#"thing "cart" not found in namespace "default": it is in namespace "shop", so add -n shop"#
        );
    }

    #[test]
    fn what_belongs_to_a_service() {
        let query = Query {
            service: Some("dns".to_owned()),
            ..Query::default()
        };
        assert_eq!(names(&query), ["dns"]);
    }
}
