//! Which pool a new volume goes to, and why not the others, as pure functions.
