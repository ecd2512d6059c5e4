//! Storage and target drivers behind two traits, and their YAML configuration.
