//! What do those see who operate a node: health, metrics, and what is repaired by itself?

mod audit;
mod capabilities;
mod health;
mod prepare;
mod propagation;
mod settings;
