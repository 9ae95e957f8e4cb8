//! Connections between places of a cluster whose node runs `lb`: one file for each thing that
//! users count on.

mod addresses;
mod big;
mod cluster_ip;
mod devices;
mod life;
mod links;
mod matrix;
mod netem;
mod others;
mod path_mtu;
mod sctp;
mod sockets;
mod takeover;
mod udp;
mod unreachable;
