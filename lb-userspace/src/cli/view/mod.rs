//! What is there to show? Pure: tables and state in, records out. How records look is `print`'s.

mod backends;
mod doctor;
mod drops;
mod flows;
mod frontends;
mod handover;
mod index;
mod problems;
mod services;
mod status;
mod verify;

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use serde::Serialize;

use crate::model::{ObjectName, Protocol};

pub use backends::{BackendRecord, backends};
pub use doctor::{FindingRecord, Machine, Verdict, doctor};
pub use drops::{DropRecord, drops};
pub use flows::{Clock, FlowRecord, flows};
pub use frontends::{FrontendRecord, PoolRecord, frontends};
pub use handover::{PassengerRecord, passenger};
pub use index::Index;
pub use problems::{ProblemRecord, problems};
pub use services::{ServicePortRecord, ServiceRecord, services};
pub use status::{Facts, Sifting, status};
pub use verify::{Verified, verify};

/// Something that can be shown as a row of a table, or as an object.
pub trait Record: Serialize + 'static {
    /// What one is called: `service`.
    const KIND: &'static str;
    /// Whether it belongs to a namespace.
    const NAMESPACED: bool = true;
    /// Its columns, in order; the namespace is not one of them.
    const COLUMNS: &'static [Column<Self>];

    /// The object that it belongs to: what -n and --service compare.
    fn object(&self) -> &ObjectName;

    /// Its name within the namespace, as `-o name` shows it.
    fn name(&self) -> String;

    /// Whether people mean this one by `name`.
    fn is_called(&self, name: &str) -> bool {
        self.name() == name
    }
}

/// A column of a table.
pub struct Column<R: ?Sized> {
    /// Its heading.
    pub title: &'static str,
    /// Whether only `-o wide` shows it.
    pub wide: bool,
    /// What stands in it; empty shows as `<none>`.
    pub cell: fn(&R) -> String,
}

/// A column that is always there.
const fn column<R>(title: &'static str, cell: fn(&R) -> String) -> Column<R> {
    Column {
        title,
        wide: false,
        cell,
    }
}

/// A column that only `-o wide` shows.
const fn wide<R>(title: &'static str, cell: fn(&R) -> String) -> Column<R> {
    Column {
        title,
        wide: true,
        cell,
    }
}

/// How a port without a name shows where ports have names.
const UNSET: &str = "<unset>";

/// The port's name, for people.
fn port_name(name: &str) -> String {
    if name.is_empty() { UNSET } else { name }.to_owned()
}

/// `10.43.165.39:80/TCP`, `[fd00::1]:80/TCP`.
fn socket_text(address: IpAddr, port: u16, protocol: Protocol) -> String {
    format!("{}/{protocol}", SocketAddr::new(address, port))
}

/// Whether `name` is the address, or the address with its port, or that with its protocol.
fn names_socket(name: &str, address: IpAddr, port: u16, protocol: Protocol) -> bool {
    name.parse() == Ok(address)
        || name.parse() == Ok(SocketAddr::new(address, port))
        || name == socket_text(address, port, protocol)
}

/// `90s`, `12m`, `3h`, `4d`: two or three digits are enough to judge by.
#[must_use]
pub fn age(age: Duration) -> String {
    match age.as_secs() {
        seconds @ ..120 => format!("{seconds}s"),
        seconds @ ..7_200 => format!("{}m", seconds / 60),
        seconds @ ..172_800 => format!("{}h", seconds / 3_600),
        seconds => format!("{}d", seconds / 86_400),
    }
}

/// Texts of a list in one cell.
fn joined<T: ToString>(list: impl IntoIterator<Item = T>) -> String {
    let texts: Vec<_> = list.into_iter().map(|item| item.to_string()).collect();
    texts.join(",")
}

#[cfg(test)]
pub(super) mod fixture;
#[cfg(test)]
mod tests;
