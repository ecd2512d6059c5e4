//! The contract between the controller and a dock.
