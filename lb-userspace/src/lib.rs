//! The load balancer behind the binary `lb`.

pub mod object;
