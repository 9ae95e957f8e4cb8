//! How does WireGuard carry packets between pods of different nodes? Each node is a peer of the others,
//! with its pods' addresses.

use std::process::Command;

use anyhow::{Context as _, Result};

use super::addresses::{self, Pair};
use super::node::Node;
use crate::command;

/// The tunnel's device.
pub const WIREGUARD: &str = "wg0";
/// Where a node's peers send to.
const PORT: &str = "51820";

/// A node's key, as `wg` writes it.
struct Key {
    private: String,
    public: String,
}

impl Key {
    fn new() -> Result<Self> {
        let private = command::run(Command::new("wg").arg("genkey"))?;
        let public = command::feed(Command::new("wg").arg("pubkey"), &private)?;
        Ok(Self {
            private,
            public: public.trim().to_owned(),
        })
    }
}

/// Gives every node a tunnel to all others. What is sent to virtual addresses goes to the first one.
pub(super) fn connect(nodes: &[Node]) -> Result<()> {
    let keys = nodes.iter().map(|_| Key::new());
    let keys = keys.collect::<Result<Vec<_>>>()?;
    for (node, key) in nodes.iter().zip(&keys) {
        let netns = node.place().netns();
        let Pair { v4, v6 } = addresses::pod(node.number(), 0);
        netns.ip(&format!(
            "link add {WIREGUARD} type wireguard
             addr add {v4}/32 dev {WIREGUARD}
             addr add {v6}/128 dev {WIREGUARD} nodad
             link set {WIREGUARD} up"
        ))?;
        let set = |arguments: &[&str], input: &str| {
            let mut wg = Command::new("wg");
            wg.args(["set", WIREGUARD]).args(arguments);
            netns.run(|| command::feed(&mut wg, input).context("setting up WireGuard"))
        };
        let own = ["listen-port", PORT, "private-key", "/proc/self/fd/0"];
        set(&own, &key.private)?;
        for (other, key) in nodes.iter().zip(&keys) {
            if other.number() == node.number() {
                continue;
            }
            let behind = behind(other);
            let endpoint = format!("{}:{PORT}", addresses::node(other.number()).v4);
            let allowed = behind.join(",");
            set(
                &[
                    "peer",
                    &key.public,
                    "endpoint",
                    &endpoint,
                    "allowed-ips",
                    &allowed,
                ],
                "",
            )?;
            let route = |prefix| format!("route add {prefix} dev {WIREGUARD}\n");
            netns.ip(&behind.iter().map(route).collect::<String>())?;
        }
    }
    Ok(())
}

/// What a node's peers send to it.
fn behind(node: &Node) -> Vec<String> {
    let Pair { v4, v6 } = addresses::pod(node.number(), 0);
    let mut behind = vec![format!("{v4}/24"), format!("{v6}/64")];
    if node.number() == 0 {
        behind.extend(addresses::SERVICES.map(str::to_owned));
    }
    behind
}
