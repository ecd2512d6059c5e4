//! Pools that promise the same space: without a `capacity` a file pool has all of its file system,
//! and so has another one there.
//!
//! Only a warning: whoever has one pool full of caches may want it so, and knows it from here.

use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use osds_drivers::config::FileConfig;

/// What is to be said of the pools of all backends, by the backends' names.
pub(crate) fn promised_twice<'a>(
    backends: impl IntoIterator<Item = (&'a str, &'a FileConfig)>,
) -> Vec<String> {
    let mut by_device: BTreeMap<u64, Vec<String>> = BTreeMap::new();
    for (backend, config) in backends {
        for pool in config.pools.iter().filter(|pool| pool.capacity.is_none()) {
            if let Some(device) = device(&pool.path) {
                let name = format!("{} (backend {backend})", pool.pool.name);
                by_device.entry(device).or_default().push(name);
            }
        }
    }
    let shared = by_device.into_values().filter(|pools| pools.len() > 1);
    shared
        .map(|pools| {
            format!(
                "pools {} are on one file system, and none of them says its capacity: each promises \
                 all of the space, so it is promised {} times; give each a capacity",
                pools.join(", "),
                pools.len()
            )
        })
        .collect()
}

/// Where it is, or will be made.
fn device(path: &Path) -> Option<u64> {
    path.ancestors().find_map(|path| std::fs::metadata(path).ok()).map(|found| found.dev())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_pools_without_a_capacity_beside_each_other() {
        let home = tempfile::tempdir().unwrap();
        let config =
            |yaml: &str| FileConfig::parse(&home.path().join("pools.yaml"), yaml).unwrap().config;
        let two = config("pool: {a: {path: x/a}, b: {path: x/b, capacity: 1GiB}}");
        let other = config("pool: {c: {path: c}}");
        assert_eq!(promised_twice([("one", &two)]), [""; 0]);
        let said = promised_twice([("one", &two), ("other", &other)]);
        assert_eq!(said.len(), 1);
        assert!(said[0].contains("a (backend one), c (backend other)"), "{said:?}");
        let elsewhere = config("pool: {d: {path: /proc/d}}");
        assert_eq!(promised_twice([("one", &two), ("elsewhere", &elsewhere)]), [""; 0]);
    }
}
