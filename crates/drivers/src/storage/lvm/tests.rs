//! The driver beside a pretended lvm.
