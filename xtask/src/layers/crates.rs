//! Holds the dependencies that cargo knows against the table of crates.
//!
//! Works on plain [`Package`] values, so that a test can sabotage them. A dev-dependency must not
//! close a circle: cargo would allow it, but the crate under test would then be built twice, and
//! its types would no longer be its types.

use std::collections::BTreeSet;
use std::path::Path;

use cargo_metadata::{DependencyKind, Metadata};

use super::table::{CRATES, CrateRule, FOREIGN, May, Tests};
use crate::finding::Finding;

const TABLE: &str = "xtask/src/layers/table.rs";

/// One crate of the workspace and what its manifest asks for.
#[derive(Debug, Clone)]
pub struct Package {
    /// Folder under `crates/`, or `xtask`.
    pub folder: String,
    /// Path of the manifest from the root.
    pub manifest: String,
    /// Its dependencies.
    pub dependencies: Vec<Dependency>,
}

/// One line of a manifest.
#[derive(Debug, Clone)]
pub struct Dependency {
    /// Folder if it is one of ours, name on the registry otherwise.
    pub name: String,
    /// One of ours?
    pub ours: bool,
    /// Only for tests?
    pub dev: bool,
}

/// What cargo says about the workspace, in our words.
pub fn packages(metadata: &Metadata, root: &Path) -> Vec<Package> {
    let folder_of = |path: &Path| {
        path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default()
    };
    let package = |package: &&cargo_metadata::Package| {
        let manifest = package.manifest_path.as_std_path();
        let dependencies = package.dependencies.iter().map(|dependency| Dependency {
            name: match &dependency.path {
                Some(path) => folder_of(path.as_std_path()),
                None => dependency.name.clone(),
            },
            ours: dependency.path.is_some(),
            dev: dependency.kind == DependencyKind::Development,
        });
        Package {
            folder: manifest.parent().map(folder_of).unwrap_or_default(),
            manifest: manifest.strip_prefix(root).unwrap_or(manifest).display().to_string(),
            dependencies: dependencies.collect(),
        }
    };
    metadata.workspace_packages().iter().map(package).collect()
}

/// Every dependency that the table does not allow.
pub fn check(packages: &[Package]) -> Vec<Finding> {
    let mut findings = Vec::new();
    for package in packages.iter().filter(|package| package.folder != "xtask") {
        let Some(rule) = CRATES.iter().find(|rule| rule.folder == package.folder) else {
            findings.push(Finding::file(
                &package.manifest,
                "layers-unknown-crate",
                format!("crate {} is not in the table of layers", package.folder),
                format!("give it a line in {TABLE} and in ARCHITECTURE.md"),
            ));
            continue;
        };
        for dependency in package.dependencies.iter().filter(|dependency| dependency.ours) {
            findings.extend(judge(packages, package, rule, dependency));
        }
    }
    for package in packages {
        findings.extend(package.dependencies.iter().filter_map(|used| foreign(package, used)));
    }
    findings
}

fn judge(
    packages: &[Package],
    package: &Package,
    rule: &CrateRule,
    dependency: &Dependency,
) -> Option<Finding> {
    let target = dependency.name.as_str();
    let shipped = match rule.may {
        May::Only(folders) => folders.contains(&target),
        May::AllBut(folders) => !folders.contains(&target) && target != "xtask",
    };
    if shipped {
        return None;
    }
    let finding = |what: String, remedy: &str| {
        Some(Finding::file(&package.manifest, "layers-crates", what, remedy))
    };
    let from = &package.folder;
    if !dependency.dev {
        return finding(
            format!("{from} must not import {target}: {}", rule.why),
            "move the code to the crate that may know both, or go through a contract crate",
        );
    }
    match rule.tests {
        Tests::AsShipped => finding(
            format!("tests of {from} must not import {target}: {}", rule.why),
            "move the test to a crate above, or to testkit",
        ),
        Tests::Scene if target == "osds" || target == "xtask" => finding(
            format!("tests of {from} must not import the program {target}"),
            "drive the program from crates/osds/tests, or use testkit",
        ),
        Tests::Scene if reaches(packages, target, from) => finding(
            format!("tests of {from} must not import {target}, which depends on {from}: a circle"),
            "move the test into the upper crate's tests/ folder",
        ),
        Tests::Scene => None,
    }
}

/// Does `from` depend on `to`, by whatever way, when shipped?
fn reaches(packages: &[Package], from: &str, to: &str) -> bool {
    let mut seen = BTreeSet::new();
    let mut waiting = vec![from];
    while let Some(folder) = waiting.pop() {
        if folder == to {
            return true;
        }
        if seen.insert(folder) {
            let next = packages.iter().filter(|package| package.folder == folder);
            let next = next.flat_map(|package| &package.dependencies);
            waiting
                .extend(next.filter(|used| used.ours && !used.dev).map(|used| used.name.as_str()));
        }
    }
    false
}

fn foreign(package: &Package, dependency: &Dependency) -> Option<Finding> {
    let is_named = |pattern: &str| match pattern.strip_suffix('*') {
        Some(start) => dependency.name.starts_with(start),
        None => dependency.name == pattern,
    };
    let rule = FOREIGN.iter().find(|rule| !dependency.ours && is_named(rule.name))?;
    let allowed = rule.only_in.contains(&package.folder.as_str());
    if allowed || (dependency.dev && !rule.tests_too) {
        return None;
    }
    let home = if rule.only_in.is_empty() { "tests".into() } else { rule.only_in.join(", ") };
    Some(Finding::file(
        &package.manifest,
        "layers-foreign",
        format!("{} must not depend on {}: {}", package.folder, dependency.name, rule.why),
        format!("its home is {home}; a move is a line in {TABLE} and an ADR"),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ours(name: &str) -> Dependency {
        Dependency { name: name.into(), ours: true, dev: false }
    }

    fn test_only(name: &str) -> Dependency {
        Dependency { dev: true, ..ours(name) }
    }

    fn registry(name: &str) -> Dependency {
        Dependency { ours: false, ..ours(name) }
    }

    fn package(folder: &str, dependencies: &[Dependency]) -> Package {
        Package {
            folder: folder.into(),
            manifest: format!("crates/{folder}/Cargo.toml"),
            dependencies: dependencies.to_vec(),
        }
    }

    /// The tower as the table draws it.
    fn sound() -> Vec<Package> {
        let package_of = |rule: &CrateRule| {
            let allowed = match rule.may {
                May::Only(folders) => folders.to_vec(),
                May::AllBut(_) => vec!["dock", "controller", "store", "drivers"],
            };
            package(rule.folder, &allowed.into_iter().map(ours).collect::<Vec<_>>())
        };
        CRATES.iter().map(package_of).collect()
    }

    fn sabotaged(folder: &str, dependency: Dependency) -> Vec<String> {
        let mut packages = sound();
        let found = packages.iter_mut().find(|package| package.folder == folder);
        found.expect("a crate of the table").dependencies.push(dependency);
        check(&packages).into_iter().map(|finding| finding.to_string()).collect()
    }

    #[test]
    fn the_tower_as_drawn_is_sound() {
        assert_eq!(check(&sound()), []);
    }

    #[test]
    fn every_dependency_outside_the_table_is_caught() {
        let mut caught = 0;
        for rule in CRATES {
            for target in CRATES.iter().map(|rule| rule.folder) {
                let allowed = match rule.may {
                    May::Only(folders) => folders.contains(&target),
                    May::AllBut(folders) => !folders.contains(&target),
                };
                let found = sabotaged(rule.folder, ours(target));
                assert_eq!(found.is_empty(), allowed, "{} -> {target}: {found:?}", rule.folder);
                caught += found.len();
            }
        }
        assert!(caught > 100, "only {caught} forbidden pairs");
    }

    #[test]
    fn a_finding_tells_manifest_reason_and_remedy() {
        let found = sabotaged("dock", ours("store"));
        assert!(found[0].starts_with("crates/dock/Cargo.toml: [layers-crates] dock must not"));
        assert!(found[0].contains("ledger") && found[0].contains("remedy: "));
    }

    #[test]
    fn tests_of_what_is_pure_stay_alone() {
        assert_eq!(sabotaged("lifecycle", test_only("testkit")).len(), 1);
        assert_eq!(sabotaged("iscsi", test_only("model")).len(), 1);
        assert_eq!(sabotaged("lifecycle", test_only("model")).len(), 0);
    }

    #[test]
    fn tests_may_set_a_scene_but_not_close_a_circle() {
        assert_eq!(sabotaged("rest", test_only("testkit")).len(), 0);
        assert_eq!(sabotaged("controller", test_only("dock")).len(), 0);
        // testkit depends on the controller.
        assert!(sabotaged("controller", test_only("testkit"))[0].contains("a circle"));
        assert_eq!(sabotaged("rest", test_only("osds")).len(), 1);
    }

    #[test]
    fn a_crate_without_a_line_in_the_table_is_caught() {
        let found = check(&[package("gossip", &[])]);
        assert_eq!(found[0].rule, "layers-unknown-crate");
    }

    #[test]
    fn every_foreign_crate_is_caught_outside_its_home() {
        for rule in FOREIGN {
            let name = rule.name.trim_end_matches('*');
            assert_eq!(sabotaged("model", registry(name)).len(), 1, "{name}");
            let in_test = Dependency { dev: true, ..registry(name) };
            assert_eq!(sabotaged("model", in_test).len(), usize::from(rule.tests_too), "{name}");
            for home in rule.only_in.iter().filter(|home| **home != "xtask" && **home != "csi") {
                assert_eq!(sabotaged(home, registry(name)).len(), 0, "{name} in {home}");
            }
        }
        assert_eq!(sabotaged("model", registry("clap_complete")).len(), 1);
    }
}
