//! The REST server over real HTTP on loopback, with a controller over a store in memory and a dock
//! over fake drivers: what the original's clients see, what of its faults is gone, and what a
//! hostile client can not do.

mod assignment;
mod changes;
mod client;
mod contract;
mod faults;
mod group_snapshots;
mod groups;
mod hostile;
mod isolation;
mod limits;
mod metrics;
mod once;
mod openapi;
mod prefer;
mod races;
mod random;
mod replay;
mod scene;
mod schema;
mod snapshots;
mod tls;
mod traps;
