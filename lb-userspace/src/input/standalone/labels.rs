//! Which Pods does a Service select, and which Services may a Pod concern? Without looking at all
//! of them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::input::declared::{Labels, Pod};
use crate::model::ObjectName;

/// Names by one label.
type ByLabel = BTreeMap<(String, String), BTreeSet<ObjectName>>;

/// All Pods, found by their labels.
#[derive(Debug, Default)]
pub(super) struct Pods {
    pods: BTreeMap<ObjectName, Arc<Pod>>,
    /// Each Pod under each of its labels.
    by_label: ByLabel,
}

/// The selectors of all Services.
#[derive(Debug, Default)]
pub(super) struct Selectors {
    /// Each Service under the first label that it selects by.
    by_label: ByLabel,
}

/// Whether labels are as a selector wants them; an empty one selects nothing.
pub(super) fn selects(selector: &Labels, labels: &Labels) -> bool {
    let wants = |(name, value)| labels.get(name) == Some(value);
    !selector.is_empty() && selector.iter().all(wants)
}

impl Pods {
    /// A Pod is there.
    pub(super) fn insert(&mut self, name: &ObjectName, pod: Arc<Pod>) {
        for label in &pod.labels {
            insert(&mut self.by_label, label, name);
        }
        self.pods.insert(name.clone(), pod);
    }

    /// A Pod is gone; returns what it was.
    pub(super) fn remove(&mut self, name: &ObjectName) -> Option<Arc<Pod>> {
        let pod = self.pods.remove(name)?;
        for label in &pod.labels {
            remove(&mut self.by_label, label, name);
        }
        Some(pod)
    }

    /// The Pods of a namespace that a selector picks, by name.
    pub(super) fn selected<'a>(
        &'a self,
        namespace: &'a str,
        selector: &'a Labels,
    ) -> impl Iterator<Item = (&'a ObjectName, &'a Pod)> {
        // The rarest of the labels has the fewest to look at.
        let sets = selector
            .iter()
            .map(|label| self.by_label.get(&owned(label)));
        let rarest = sets.min_by_key(|names| names.map_or(0, BTreeSet::len));
        let names = rarest.flatten().into_iter().flatten();
        names
            .filter(move |name| name.namespace == namespace)
            .map(|name| (name, &*self.pods[name]))
            .filter(|(_, pod)| selects(selector, &pod.labels))
    }
}

impl Selectors {
    /// A Service selects so.
    pub(super) fn insert(&mut self, name: &ObjectName, selector: &Labels) {
        if let Some(label) = selector.iter().next() {
            insert(&mut self.by_label, label, name);
        }
    }

    /// A Service selects so no longer.
    pub(super) fn remove(&mut self, name: &ObjectName, selector: &Labels) {
        if let Some(label) = selector.iter().next() {
            remove(&mut self.by_label, label, name);
        }
    }

    /// The Services of a namespace that may select a Pod with these labels.
    pub(super) fn candidates<'a>(
        &'a self,
        namespace: &'a str,
        labels: &'a Labels,
    ) -> impl Iterator<Item = &'a ObjectName> {
        let names = labels
            .iter()
            .filter_map(|label| self.by_label.get(&owned(label)));
        names
            .flatten()
            .filter(move |name| name.namespace == namespace)
    }
}

fn owned((name, value): (&String, &String)) -> (String, String) {
    (name.clone(), value.clone())
}

fn insert(by_label: &mut ByLabel, label: (&String, &String), name: &ObjectName) {
    let names = by_label.entry(owned(label)).or_default();
    names.insert(name.clone());
}

fn remove(by_label: &mut ByLabel, label: (&String, &String), name: &ObjectName) {
    let label = owned(label);
    if let Some(names) = by_label.get_mut(&label) {
        names.remove(name);
        if names.is_empty() {
            by_label.remove(&label);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(pairs: &[(&str, &str)]) -> Labels {
        let pairs = pairs.iter();
        pairs.map(|(k, v)| ((*k).into(), (*v).into())).collect()
    }

    fn pod(pairs: &[(&str, &str)]) -> Arc<Pod> {
        Arc::new(Pod {
            labels: labels(pairs),
            ..Pod::default()
        })
    }

    #[test]
    fn a_selector_picks_pods_that_have_all_of_its_labels_in_its_namespace() {
        let mut pods = Pods::default();
        for (namespace, name, pairs) in [
            (
                "default",
                "backend-1",
                vec![("app", "backend"), ("tier", "a")],
            ),
            ("default", "backend-2", vec![("app", "backend")]),
            (
                "other",
                "backend-3",
                vec![("app", "backend"), ("tier", "a")],
            ),
            ("default", "kubia", vec![("app", "kubia"), ("tier", "a")]),
        ] {
            pods.insert(&ObjectName::new(namespace, name), pod(&pairs));
        }
        for (selector, expected) in [
            (
                labels(&[("app", "backend")]),
                vec!["backend-1", "backend-2"],
            ),
            (
                labels(&[("app", "backend"), ("tier", "a")]),
                vec!["backend-1"],
            ),
            (labels(&[("app", "MyApp")]), vec![]),
            (labels(&[("app", "backend"), ("none", "")]), vec![]),
            (labels(&[]), vec![]),
        ] {
            let picked: Vec<_> = pods
                .selected("default", &selector)
                .map(|(name, _)| name.name.as_str())
                .collect();
            assert_eq!(picked, expected, "{selector:?}");
        }
        pods.remove(&ObjectName::new("default", "backend-1"));
        let selector = labels(&[("tier", "a")]);
        assert_eq!(pods.selected("default", &selector).count(), 1);
    }

    #[test]
    fn a_pod_concerns_services_by_any_of_its_labels() {
        let mut selectors = Selectors::default();
        let name = ObjectName::new("default", "backend-service");
        let selector = labels(&[("app", "backend"), ("tier", "a")]);
        selectors.insert(&name, &selector);
        let of_pod = labels(&[("app", "backend"), ("zone", "b")]);
        assert_eq!(selectors.candidates("default", &of_pod).count(), 1);
        assert_eq!(selectors.candidates("other", &of_pod).count(), 0);
        selectors.remove(&name, &selector);
        selectors.insert(&name, &labels(&[("app", "kubia")]));
        assert_eq!(selectors.candidates("default", &of_pod).count(), 0);
    }
}
