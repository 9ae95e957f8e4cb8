//! What do we ask of bpf(2) that aya does not offer? Maps read in batches, which survive concurrent
//! deletion; links that are created at a place of our choice, inspected and switched; lists of what
//! others have attached.

mod batch;
mod link;
mod map;
pub mod program;
mod syscall;
mod words;

pub use link::{Attachment, Link, LinkInfo, Place, Target};
pub use map::{Cursor, Held, Map, MapInfo, PerCpu, first_element, first_element_by_id};
pub use syscall::{give_freed_back, netns_cookie, socket_option};
pub use words::Words;
