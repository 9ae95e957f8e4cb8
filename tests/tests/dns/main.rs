//! Does `lb run --dns-listen` answer over real sockets, as dig sees it?

mod alone;
mod reach;
mod transcripts;
mod upstream;
