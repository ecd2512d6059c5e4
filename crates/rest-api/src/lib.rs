//! The OpenSDS v1beta wire: JSON shapes, error body, lists, client.
