//! The driver before a real control plane (in this process, over REST), judged by its gRPC codes.
//!
//! `table` is the attach table of CSI row by row, `volumes` what is made and listed, `group_snapshots`
//! what several volumes are taken into together, `races` many callers at once, `socket` the server on
//! its unix socket.

mod connect;
mod group_snapshots;
mod races;
mod scene;
mod socket;
mod table;
mod volumes;
