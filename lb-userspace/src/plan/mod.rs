//! What must the tables hold, given what is known?
//!
//! Pure: no I/O, no clock, no chance. [`service::plan`] says what one Service asks for, [`rows`]
//! gives it numbers that stay, [`Planner`] does so for whatever a change touches.

mod choice;
mod claims;
pub mod endpoints;
mod frontends;
mod ids;
mod node;
mod planner;
mod quarantine;
mod rows;
pub mod service;
mod space;
mod stopped;

pub use claims::Rank;
pub use frontends::FrontendPlan;
pub use node::ConfigBase;
pub use planner::{CompleteList, Planner};
pub use stopped::{Destinations, Stopped};
