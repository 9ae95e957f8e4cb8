//! Does the datapath come into the kernel, stay there over restarts, respect others, and leave
//! without a trace?

mod follow;
mod layout;
mod life;
mod others;
mod sockets;
mod tables;
