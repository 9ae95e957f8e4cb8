//! Is what operators apply consistent: with itself, with the program, and with the pages about it?

mod files;
mod install;
mod names;
mod promql;
mod rendered;
