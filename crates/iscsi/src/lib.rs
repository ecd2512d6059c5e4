//! A user-space iSCSI target: shared block devices with per-initiator access.
