//! osdsctl: the command line of osds.
