//! From the original to osds: its configuration, and what it kept.
//!
//! What is read here was written by or for another program, so nothing is taken on trust: every
//! part is either carried over in full, or named with its place and what to do about it.

pub(crate) mod config;
mod etcd;
mod ini;
mod kept;
mod known;
mod plan;
pub(crate) mod records;
