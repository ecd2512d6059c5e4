//! The nouns of osds: volumes, attachments, pools, profiles, docks, hosts, snapshots.
