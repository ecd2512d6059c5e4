//! End to end: the real binary, real HTTP, real iSCSI, real kills.
//!
//! Every test has a daemon of its own on free loopback ports, with all it keeps in a temporary
//! directory. Nothing sleeps and hopes: what shall happen is polled for with a deadline. One
//! binary for all, so that it is linked once.

mod scene;

mod array;
mod config;
mod config_import;
mod credentials;
mod crowd;
mod demo;
mod drift;
mod freeze;
mod group_snapshot;
mod grow;
mod import;
mod initiators;
mod nodes;
mod osdsctl;
mod password;
mod reservations;
mod restart;
mod sanity;
mod snapshot;
mod stopped;
