//! Single packets through the programs, by test-run: one file for each thing they do.

mod apart;
mod atomic;
mod cases;
mod flood;
mod flows;
mod foreign;
mod forward;
mod maglev;
mod object;
mod policy;
mod refusal;
mod sctp;
mod transit;
