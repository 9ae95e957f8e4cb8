//! Do the tables say what the Services ask for, at every moment and whatever happened before?

mod affinity;
mod agreement;
mod atomicity;
mod endpoints;
mod events;
mod failures;
mod golden;
mod numbers;
mod services;
mod support;
