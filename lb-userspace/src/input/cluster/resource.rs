//! What is asked of the API server? Only what balancing needs, sorted out there.

use form_urlencoded::Serializer;

use crate::input::declared::Kind;

/// Services of other proxies are theirs, headless ones are left to DNS; their slices bear the same
/// labels.
const OURS: &str = "!service.kubernetes.io/service-proxy-name,!service.kubernetes.io/headless";

/// A list of objects in the API.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Resource {
    /// Their kind.
    pub(super) kind: Kind,
    path: &'static str,
    selectors: Vec<(&'static str, String)>,
}

/// What is followed.
pub(super) fn resources(node_name: &str) -> [Resource; 4] {
    let ours = || vec![("labelSelector", OURS.to_owned())];
    [
        Resource {
            kind: Kind::Service,
            path: "/api/v1/services",
            selectors: ours(),
        },
        Resource {
            kind: Kind::EndpointSlice,
            path: "/apis/discovery.k8s.io/v1/endpointslices",
            selectors: ours(),
        },
        Resource {
            kind: Kind::ServiceCidr,
            path: "/apis/networking.k8s.io/v1/servicecidrs",
            selectors: Vec::new(),
        },
        Resource {
            kind: Kind::Node,
            path: "/api/v1/nodes",
            selectors: vec![("fieldSelector", format!("metadata.name={node_name}"))],
        },
    ]
}

impl Resource {
    /// Path and query of a request with these parameters besides the selectors.
    pub(super) fn request(&self, parameters: &[(&str, &str)]) -> String {
        let mut query = Serializer::new(String::new());
        query.extend_pairs(&self.selectors);
        query.extend_pairs(parameters);
        format!("{}?{}", self.path, query.finish())
    }

    /// The name of its list in rules of RBAC and in messages.
    pub(super) fn name(kind: Kind) -> &'static str {
        match kind {
            Kind::Service => "services",
            Kind::EndpointSlice => "endpointslices",
            Kind::Endpoints => "endpoints",
            Kind::Pod => "pods",
            Kind::Node => "nodes",
            Kind::ServiceCidr => "servicecidrs",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn selectors_are_part_of_every_request() {
        let [services, slices, cidrs, node] = resources("node-a");
        let of_others = "labelSelector=%21service.kubernetes.io%2Fservice-proxy-name%2C%21service.kubernetes.io%2Fheadless";
        assert_eq!(
            services.request(&[("watch", "true")]),
            format!("/api/v1/services?{of_others}&watch=true")
        );
        assert_eq!(
            slices.request(&[]),
            format!("/apis/discovery.k8s.io/v1/endpointslices?{of_others}")
        );
        assert_eq!(
            cidrs.request(&[("limit", "500")]),
            "/apis/networking.k8s.io/v1/servicecidrs?limit=500"
        );
        assert!(
            node.request(&[])
                .ends_with("?fieldSelector=metadata.name%3Dnode-a")
        );
    }
}
