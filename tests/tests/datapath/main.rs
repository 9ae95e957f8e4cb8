//! Single packets through the programs, by test-run: one file for each thing they do.

mod apart;
mod atomic;
mod cases;
mod counts;
mod echo;
mod flood;
mod flows;
mod foreign;
mod forward;
mod fragments;
mod halves;
mod handover;
mod headers;
mod icmp;
mod links;
mod maglev;
mod model;
mod object;
mod policy;
mod random;
mod refusal;
mod sctp;
mod sieve;
mod stray;
mod transit;
