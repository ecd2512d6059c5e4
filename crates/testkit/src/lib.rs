//! A whole cluster in one process, a built-in iSCSI initiator, and stories.
