//! The OpenSDS v1beta REST server.
