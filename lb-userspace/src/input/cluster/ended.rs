//! Why did following a list end, and what is to be done about it?

use std::error::Error as _;
use std::fmt;
use std::io;

/// Why a session ended.
#[derive(Debug)]
pub(super) enum Ended {
    /// Nobody hears us any more.
    Unheard,
    /// The version to go on from is forgotten.
    Expired,
    /// The server does not stream lists.
    NoStreams,
    /// Something is wrong.
    Trouble(Trouble),
}

/// Why a list cannot be followed now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Trouble {
    /// What the server or the network says, and what to do.
    pub(super) why: String,
    /// Whether it is there for others, but not for us.
    pub(super) is_forbidden: bool,
    /// Whether the server has no such list.
    pub(super) is_absent: bool,
}

impl Ended {
    /// Something is wrong that may pass.
    pub(super) fn trouble(why: impl fmt::Display) -> Self {
        Self::Trouble(Trouble {
            why: why.to_string(),
            is_forbidden: false,
            is_absent: false,
        })
    }
}

impl From<io::Error> for Ended {
    fn from(error: io::Error) -> Self {
        Self::trouble(error)
    }
}

impl From<kube::Error> for Ended {
    fn from(error: kube::Error) -> Self {
        let kube::Error::Api(status) = error else {
            return Self::trouble(reasons(&error));
        };
        let is_too_new = status.details.iter().flat_map(|details| &details.causes);
        let mut is_too_new = is_too_new.map(|cause| &*cause.reason);
        match status.code {
            // After a restore of etcd versions begin earlier again.
            410 => Self::Expired,
            _ if is_too_new.any(|reason| reason == "ResourceVersionTooLarge") => Self::Expired,
            401 => Self::trouble(format!(
                "{}: it does not know who asks; check the kubeconfig or the service account",
                status.message
            )),
            403 => Self::Trouble(Trouble {
                why: format!(
                    "{}; apply deploy/kustomize/base/rbac.yaml, whose rules are all needed",
                    status.message
                ),
                is_forbidden: true,
                is_absent: false,
            }),
            404 => Self::Trouble(Trouble {
                why: "the API server has no such list".into(),
                is_forbidden: false,
                is_absent: true,
            }),
            _ => Self::trouble(status.message),
        }
    }
}

/// What an error says, and the errors behind it.
fn reasons(error: &kube::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        let more = error.to_string();
        if !text.contains(&more) {
            text = format!("{text}: {more}");
        }
        source = error.source();
    }
    text
}
