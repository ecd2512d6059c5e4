//! `cargo xtask deny`: what we build on, and under which licence.
//!
//! Holds the graph that cargo resolved against [`table`]: every licence is one we can ship under,
//! no crate is banned, everything comes from crates.io. Two versions of one crate side by side are
//! only noted: they cost build time, and we cannot always help it. ADR 0002 says why this is a
//! page of our own and not cargo-deny.

pub mod licence;
pub mod table;

use std::collections::{BTreeMap, BTreeSet};

use cargo_metadata::Metadata;

use self::table::{BANS, Ban, CRATES_IO, Scope};
use crate::finding::{Finding, Verdict};

/// One crate of the graph.
#[derive(Debug, Clone)]
pub struct Package {
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: String,
    /// Its licence, as it declares it.
    pub licence: Option<String>,
    /// Where it comes from; absent for a path.
    pub source: Option<String>,
    /// One of ours?
    pub ours: bool,
    /// Crates that ask for it.
    pub wanted_by: BTreeSet<String>,
    /// One of those is ours.
    pub direct: bool,
}

/// What cargo resolved, in our words.
pub fn packages(metadata: &Metadata) -> Vec<Package> {
    let ours: BTreeSet<_> = metadata.workspace_members.iter().collect();
    let names: BTreeMap<_, _> =
        metadata.packages.iter().map(|package| (&package.id, package)).collect();
    let mut parents: BTreeMap<_, Vec<_>> = BTreeMap::new();
    for node in metadata.resolve.iter().flat_map(|resolve| &resolve.nodes) {
        for used in &node.dependencies {
            parents.entry(used).or_default().push(&node.id);
        }
    }
    let package = |package: &cargo_metadata::Package| {
        let wanted: &[_] = parents.get(&package.id).map_or(&[], Vec::as_slice);
        let name_of = |id| names.get(id).map(|package| package.name.to_string());
        Package {
            name: package.name.to_string(),
            version: package.version.to_string(),
            licence: package.license.clone(),
            source: package.source.as_ref().map(|source| source.repr.clone()),
            ours: ours.contains(&package.id),
            wanted_by: wanted.iter().filter_map(|id| name_of(*id)).collect(),
            direct: wanted.iter().any(|id| ours.contains(*id)),
        }
    };
    metadata.packages.iter().map(package).collect()
}

/// Every crate that may not be there.
pub fn check(packages: &[Package]) -> Verdict {
    let mut verdict = Verdict::default();
    for package in packages {
        verdict.findings.extend(licence_of(package));
        verdict.findings.extend(source_of(package));
        verdict.findings.extend(BANS.iter().filter_map(|ban| banned(package, ban)));
    }
    verdict.notes = duplicates(packages);
    verdict
}

fn finding(package: &Package, rule: &'static str, what: &str, remedy: &str) -> Finding {
    let wanted: Vec<&str> = package.wanted_by.iter().map(String::as_str).collect();
    let by = if wanted.is_empty() { "nobody".into() } else { wanted.join(", ") };
    let what = format!("{} {} (wanted by {by}): {what}", package.name, package.version);
    Finding::file("Cargo.lock", rule, what, remedy)
}

fn licence_of(package: &Package) -> Option<Finding> {
    let remedy = "choose another crate, or add the licence to xtask/src/deny/table.rs with the \
                  reason why we can ship under it";
    let what = match package.licence.as_deref().map(licence::is_allowed) {
        Some(Ok(true)) => return None,
        Some(Ok(false)) => format!("licence {}", package.licence.as_deref().unwrap_or_default()),
        Some(Err(trouble)) => format!("licence cannot be read: {trouble}"),
        None => "no licence declared".to_owned(),
    };
    Some(finding(package, "deny-licence", &what, remedy))
}

fn source_of(package: &Package) -> Option<Finding> {
    let known = match package.source.as_deref() {
        None => package.ours,
        Some(source) => CRATES_IO.contains(&source),
    };
    if known {
        return None;
    }
    let what = format!("comes from {}", package.source.as_deref().unwrap_or("a path outside"));
    let remedy = "use a release from crates.io: a build must be repeatable by anybody";
    Some(finding(package, "deny-source", &what, remedy))
}

fn banned(package: &Package, ban: &Ban) -> Option<Finding> {
    let hit = package.name == ban.name
        && match ban.scope {
            Scope::Anywhere => true,
            Scope::Direct => package.direct,
        };
    hit.then(|| finding(package, "deny-ban", ban.why, ban.instead))
}

/// Versions that cargo builds side by side because they promise nothing to each other.
fn duplicates(packages: &[Package]) -> Vec<String> {
    let mut by_name: BTreeMap<&str, Vec<&Package>> = BTreeMap::new();
    for package in packages {
        by_name.entry(&package.name).or_default().push(package);
    }
    let twice = by_name.into_iter().filter(|(_, versions)| versions.len() > 1);
    let note = |(name, versions): (&str, Vec<&Package>)| {
        let version = |package: &&Package| {
            let by: Vec<&str> = package.wanted_by.iter().map(String::as_str).collect();
            format!("{} (for {})", package.version, by.join(", "))
        };
        let versions: Vec<String> = versions.iter().map(version).collect();
        format!("{name} is built more than once: {}", versions.join(", "))
    };
    twice.map(note).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn package(name: &str) -> Package {
        Package {
            name: name.into(),
            version: "1.0.0".into(),
            licence: Some("MIT OR Apache-2.0".into()),
            source: Some(CRATES_IO[0].into()),
            ours: false,
            wanted_by: BTreeSet::from(["osds".to_owned()]),
            direct: false,
        }
    }

    fn rules(package: Package) -> Vec<&'static str> {
        check(&[package]).findings.iter().map(|finding| finding.rule).collect()
    }

    #[test]
    fn a_sound_crate_passes() {
        assert_eq!(rules(package("serde")), Vec::<&str>::new());
    }

    #[test]
    fn bad_missing_and_unreadable_licences_are_caught() {
        for licence in [Some("AGPL-3.0-only"), Some("MIT OR OR"), Some(""), None] {
            let sabotaged = Package { licence: licence.map(str::to_owned), ..package("x") };
            assert_eq!(rules(sabotaged), ["deny-licence"], "{licence:?}");
        }
    }

    #[test]
    fn sources_other_than_crates_io_are_caught() {
        for source in
            [Some("git+https://example.org/x"), Some("registry+https://example.org"), None]
        {
            let sabotaged = Package { source: source.map(str::to_owned), ..package("x") };
            assert_eq!(rules(sabotaged), ["deny-source"], "{source:?}");
        }
        let ours = Package { source: None, ours: true, ..package("osds") };
        assert_eq!(rules(ours), Vec::<&str>::new());
    }

    #[test]
    fn every_ban_bites_where_it_says() {
        for ban in BANS {
            let direct = Package { direct: true, ..package(ban.name) };
            assert_eq!(rules(direct), ["deny-ban"], "{}", ban.name);
            let expected = match ban.scope {
                Scope::Anywhere => 1,
                Scope::Direct => 0,
            };
            assert_eq!(rules(package(ban.name)).len(), expected, "{}", ban.name);
        }
    }

    #[test]
    fn two_versions_side_by_side_are_noted_not_refused() {
        let other = Package { version: "2.0.0".into(), ..package("syn") };
        let verdict = check(&[package("syn"), other]);
        assert!(verdict.findings.is_empty());
        assert_eq!(
            verdict.notes,
            ["syn is built more than once: 1.0.0 (for osds), 2.0.0 (for osds)"]
        );
    }
}
