//! A whole cluster in one process, a built-in iSCSI initiator, and stories.
//!
//! [`initiator`] depends on the target library only, so it may also stand in the demo of the
//! daemon; it talks to whatever portal it is given.

pub mod array;
pub mod cluster;
pub mod conformance;
pub mod daemon;
pub mod initiator;
pub mod served;
pub mod story;
