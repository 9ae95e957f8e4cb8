//! What must be the same on every kernel, in as few starts of `lb` as possible: in a virtual machine
//! the verifier alone takes longer than all the connections.

mod audit;
mod hooks;
mod verifier;
