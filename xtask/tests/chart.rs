//! The Helm chart and the examples beside it: every manifest parses, is as Kubernetes' own schemas want it,
//! and says what the driver needs to be right.
//!
//! The chart is rendered by helm and the schemas are kubernetes-validate's; without them (`cargo xtask
//! packages` gets both) a test says so. What can be checked of files alone is checked always.

use std::collections::BTreeSet;
use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

const DRIVER: &str = "block.csi.osds.io";

/// The sidecars, and the versions that the driver is made for.
const SIDECARS: [(&str, &str); 6] = [
    ("csi-attacher", "v4.12.0"),
    ("csi-provisioner", "v6.3.0"),
    ("csi-resizer", "v2.2.1"),
    ("csi-snapshotter", "v8.6.0"),
    ("csi-node-driver-registrar", "v2.17.0"),
    ("livenessprobe", "v2.19.0"),
];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// The documents of a YAML text.
fn documents(what: &str, text: &str) -> Vec<Value> {
    let parts = text.split("\n---").map(|part| part.trim_start_matches("---"));
    let has_words = |part: &&str| {
        part.lines().any(|line| !line.trim().is_empty() && !line.trim_start().starts_with('#'))
    };
    let parsed = parts.filter(has_words).map(|part| {
        serde_saphyr::from_str(part).unwrap_or_else(|error| panic!("{what}: {error}\n{part}"))
    });
    parsed.collect()
}

fn examples() -> Vec<(PathBuf, Vec<Value>)> {
    let folder = root().join("deploy/kubernetes");
    let files = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let yaml = files.filter(|path| path.extension().is_some_and(|end| end == "yaml"));
    let read = |path: PathBuf| {
        let text = fs::read_to_string(&path).unwrap();
        let documents = documents(&path.display().to_string(), &text);
        (path, documents)
    };
    yaml.map(read).collect()
}

fn skipped(test: &str, why: &str) {
    assert!(std::env::var_os("OSDS_REQUIRE_PACKAGES").is_none(), "{why}");
    writeln!(std::io::stdout(), "SKIPPED: {test}: {why}").expect("stdout is open");
}

/// A program that `cargo xtask packages` puts into the target folder, or one that is named.
fn program(test: &str, variable: &str, below_target: &str, name: &str) -> Option<PathBuf> {
    let ours = root().join("target").join(below_target);
    let path = std::env::var_os(variable).map(PathBuf::from);
    if let Some(path) = path.or_else(|| ours.exists().then_some(ours)) {
        return Some(path);
    }
    let folders = std::env::var_os("PATH").unwrap_or_default();
    let mut places = std::env::split_paths(&folders).map(|folder| folder.join(name));
    let found = places.find(|path| path.is_file());
    if found.is_none() {
        skipped(test, &format!("no {name}; run `cargo xtask packages`"));
    }
    found
}

fn helm(test: &str) -> Option<PathBuf> {
    program(test, "OSDS_HELM", "helm/helm", "helm")
}

/// The chart as helm renders it; its complaint when it does not.
fn template(helm: &Path, more: &[&str]) -> Result<String, String> {
    let home = tempfile::tempdir().unwrap();
    let output = Command::new(helm)
        .args(["template", "osds-csi", "--namespace", "osds"])
        .arg(root().join("deploy/helm/osds-csi"))
        .args(more)
        .env("HELM_CACHE_HOME", home.path())
        .env("HELM_CONFIG_HOME", home.path())
        .env("HELM_DATA_HOME", home.path())
        .output()
        .unwrap();
    if output.status.success() {
        return Ok(String::from_utf8(output.stdout).unwrap());
    }
    Err(String::from_utf8_lossy(&output.stderr).into_owned())
}

/// The ways to install it that differ most.
const WAYS: [(&str, &[&str]); 5] = [
    ("1.35", &["--kube-version", "1.35.0"]),
    ("1.31", &["--kube-version", "1.31.0"]),
    (
        "1.35",
        &[
            "--kube-version=1.35.0",
            "--set=driver.credentialsSecret=osds",
            "--set=driver.caConfigMap=ca",
            "--set=driver.endpoint=https://osds:50040",
            "--set=imagePullSecrets[0].name=pull",
            "--set=storageClasses[0].profile=p",
            "--set=storageClasses[0].name=one",
            "--set=storageClasses[0].default=true",
            "--set=snapshotClass.default=true",
        ],
    ),
    (
        "1.35",
        &[
            "--kube-version=1.35.0",
            "--set=sidecars.snapshotter.enabled=false",
            "--set=controller.storageCapacity=false",
            "--set=node.multipathDir=",
            "--set=driver.name=other.example",
        ],
    ),
    (
        "1.35",
        &[
            "--kube-version=1.35.0",
            "--set=sidecars.snapshotter.groups=true",
            "--set=groupSnapshotClass.default=true",
        ],
    ),
];

fn of_kind<'a>(all: &'a [Value], kind: &str) -> Vec<&'a Value> {
    all.iter().filter(|one| one["kind"] == kind).collect()
}

fn one<'a>(all: &'a [Value], kind: &str) -> &'a Value {
    let found = of_kind(all, kind);
    assert_eq!(found.len(), 1, "{kind}");
    found[0]
}

fn items(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

fn texts(value: &Value) -> Vec<&str> {
    items(value).iter().map(|item| item.as_str().unwrap()).collect()
}

fn named<'a>(list: &'a Value, name: &str) -> &'a Value {
    let found = items(list).iter().find(|item| item["name"] == name);
    found.unwrap_or_else(|| panic!("no {name} in {list}"))
}

#[test]
fn the_chart_says_what_the_driver_needs() {
    let Some(helm) = helm("the_chart_says_what_the_driver_needs") else { return };
    for (_, way) in WAYS {
        let all = documents("the chart", &template(&helm, way).unwrap());
        let without_snapshots = way.iter().any(|word| word.contains("snapshotter.enabled=false"));
        let name = if way.iter().any(|word| word.contains("other.example")) {
            "other.example"
        } else {
            DRIVER
        };
        check_names(&all, name);
        for kind in ["Deployment", "DaemonSet"] {
            check_pods(one(&all, kind));
        }
        let with_groups = way.iter().any(|word| word.contains("snapshotter.groups=true"));
        check_controller(one(&all, "Deployment"), without_snapshots, with_groups);
        check_node(one(&all, "DaemonSet"), name);
        check_rights(&all);
        assert_eq!(of_kind(&all, "VolumeSnapshotClass").is_empty(), without_snapshots);
        assert_eq!(of_kind(&all, "VolumeGroupSnapshotClass").len(), usize::from(with_groups));
        // Rights to what is not served are rights that nobody needs.
        let rules = items(&one(&all, "ClusterRole")["rules"]);
        let of_groups =
            rules.iter().any(|rule| texts(&rule["apiGroups"]) == ["groupsnapshot.storage.k8s.io"]);
        assert_eq!(of_groups, with_groups);
    }
}

/// One name everywhere: a claim, an attachment and a socket find each other by it.
fn check_names(all: &[Value], name: &str) {
    let driver = one(all, "CSIDriver");
    assert_eq!(driver["metadata"]["name"], name);
    let spec = &driver["spec"];
    assert_eq!((&spec["attachRequired"], &spec["podInfoOnMount"]), (&true.into(), &false.into()));
    assert_eq!(spec["fsGroupPolicy"], "ReadWriteOnceWithFSType");
    assert_eq!(spec["seLinuxMount"], true);
    let classes = of_kind(all, "StorageClass");
    assert!(!classes.is_empty());
    for class in classes {
        assert_eq!(
            (&class["provisioner"], &class["allowVolumeExpansion"]),
            (&name.into(), &true.into())
        );
        // What the driver does not know it refuses.
        let known = ["profile", "csi.storage.k8s.io/fstype"];
        let mut parameters = class["parameters"].as_object().into_iter().flatten();
        assert!(parameters.all(|(key, _)| known.contains(&key.as_str())), "{class}");
    }
    for kind in ["VolumeSnapshotClass", "VolumeGroupSnapshotClass"] {
        for class in of_kind(all, kind) {
            assert_eq!((&class["driver"], &class["parameters"]), (&name.into(), &Value::Null));
        }
    }
    let names: Vec<_> = all.iter().map(|o| (&o["kind"], &o["metadata"]["name"])).collect();
    let different: BTreeSet<_> = names.iter().map(|(kind, name)| format!("{kind}{name}")).collect();
    assert_eq!(names.len(), different.len(), "two objects of one name: {names:?}");
}

/// What holds for every pod of ours.
fn check_pods(workload: &Value) {
    let (spec, pod) = (&workload["spec"], &workload["spec"]["template"]);
    for (key, value) in spec["selector"]["matchLabels"].as_object().unwrap() {
        assert_eq!(&pod["metadata"]["labels"][key], value);
    }
    let pod = &pod["spec"];
    assert!(pod["priorityClassName"].as_str().unwrap().starts_with("system-"));
    assert!(!items(&pod["tolerations"]).is_empty());
    let volumes: BTreeSet<_> =
        items(&pod["volumes"]).iter().map(|v| v["name"].as_str().unwrap()).collect();
    let mut mounted = BTreeSet::new();
    for container in items(&pod["containers"]) {
        let (name, security) = (&container["name"], &container["securityContext"]);
        assert_eq!(security["readOnlyRootFilesystem"], true, "{name}");
        assert!(container["resources"]["limits"]["memory"].is_string(), "{name}");
        if name != "liveness-probe" {
            assert!(container["livenessProbe"].is_object(), "{name}");
        }
        let image = container["image"].as_str().unwrap();
        if name != "driver" {
            let mut known =
                SIDECARS.iter().map(|(of, tag)| format!("registry.k8s.io/sig-storage/{of}:{tag}"));
            assert!(known.any(|known| known == image), "{image}");
            assert_eq!(security["allowPrivilegeEscalation"], false, "{name}");
            assert_eq!(texts(&security["capabilities"]["drop"]), ["ALL"], "{name}");
        }
        assert!(texts(&container["args"]).iter().any(|a| a.ends_with("/csi/csi.sock")), "{name}");
        let mounts = items(&container["volumeMounts"]).iter().map(|m| m["name"].as_str().unwrap());
        let mounts: Vec<_> = mounts.collect();
        assert!(mounts.contains(&"socket"), "{name}");
        mounted.extend(mounts);
    }
    assert_eq!(mounted, volumes, "what is mounted is there, and all of it is mounted");
}

fn check_controller(deployment: &Value, without_snapshots: bool, with_groups: bool) {
    let pod = &deployment["spec"]["template"]["spec"];
    assert!(deployment["spec"]["replicas"].as_u64().unwrap() > 1);
    assert_eq!(pod["securityContext"]["runAsNonRoot"], true);
    assert!(pod["hostNetwork"].is_null());
    let driver = named(&pod["containers"], "driver");
    assert_eq!(texts(&driver["args"])[..2], ["csi", "controller"]);
    let mut leaders = vec!["csi-attacher", "csi-provisioner", "csi-resizer"];
    leaders.extend((!without_snapshots).then_some("csi-snapshotter"));
    for name in &leaders {
        let arguments = texts(&named(&pod["containers"], name)["args"]);
        assert!(arguments.contains(&"--leader-election"), "{name}");
        // An attach may take longer than the sidecars' own patience; asked twice, it is slower yet.
        assert!(arguments.contains(&"--timeout=60s"), "{name}");
    }
    if !without_snapshots {
        let snapshotter = texts(&named(&pod["containers"], "csi-snapshotter")["args"]);
        let gate = snapshotter.contains(&"--feature-gates=CSIVolumeGroupSnapshot=true");
        assert_eq!(gate, with_groups, "without its CRDs it would end all snapshots");
    }
    let provisioner = texts(&named(&pod["containers"], "csi-provisioner")["args"]);
    assert!(provisioner.contains(&"--controller-publish-readonly=true"));
    assert_eq!(items(&pod["containers"]).len(), leaders.len() + 2);
    // No two listen at one port.
    let ports = items(&pod["containers"]).iter().flat_map(|c| items(&c["ports"]));
    let ports: Vec<_> = ports.map(|port| port["containerPort"].as_u64().unwrap()).collect();
    assert_eq!(ports.iter().collect::<BTreeSet<_>>().len(), ports.len());
}

fn check_node(daemon_set: &Value, name: &str) {
    let pod = &daemon_set["spec"]["template"]["spec"];
    assert_eq!(
        (&pod["hostNetwork"], &pod["automountServiceAccountToken"]),
        (&true.into(), &false.into())
    );
    let driver = named(&pod["containers"], "driver");
    assert_eq!(texts(&driver["args"])[..2], ["csi", "node"]);
    assert_eq!(driver["securityContext"]["privileged"], true);
    let node_id = named(&driver["env"], "NODE_ID");
    assert_eq!(node_id["valueFrom"]["fieldRef"]["fieldPath"], "spec.nodeName");
    // Mounts made by the driver are seen by kubelet, and its journal outlives it.
    let kubelet = named(&driver["volumeMounts"], "kubelet");
    assert_eq!(
        (&kubelet["mountPath"], &kubelet["mountPropagation"]),
        (&"/var/lib/kubelet".into(), &"Bidirectional".into())
    );
    let state = named(&pod["volumes"], "state")["hostPath"]["path"].as_str().unwrap();
    assert!(texts(&driver["args"]).contains(&format!("--node-state-dir={state}").as_str()));
    assert_eq!(named(&driver["volumeMounts"], "state")["mountPath"], state);
    // kubelet is told where the socket is on the node.
    let socket = named(&pod["volumes"], "socket")["hostPath"]["path"].as_str().unwrap();
    assert_eq!(socket, format!("/var/lib/kubelet/plugins/{name}"));
    let registrar = texts(&named(&pod["containers"], "node-driver-registrar")["args"]);
    assert!(registrar.contains(&format!("--kubelet-registration-path={socket}/csi.sock").as_str()));
    assert!(
        items(&pod["tolerations"]).iter().any(|t| t["operator"] == "Exists" && t["key"].is_null())
    );
}

/// No right that nobody needs: none to secrets, none to everything, and none at all on the nodes.
fn check_rights(all: &[Value]) {
    for kind in ["ClusterRole", "Role"] {
        for rule in items(&one(all, kind)["rules"]) {
            for word in ["apiGroups", "resources", "verbs"] {
                assert!(!texts(&rule[word]).contains(&"*"), "{rule}");
            }
            assert!(!texts(&rule["resources"]).contains(&"secrets"), "{rule}");
            let deletes = texts(&rule["verbs"]).contains(&"delete");
            let own = ["persistentvolumes", "leases", "csistoragecapacities"];
            assert!(
                !deletes || texts(&rule["resources"]).iter().all(|r| own.contains(r)),
                "{rule}"
            );
        }
    }
    for binding in of_kind(all, "ClusterRoleBinding").into_iter().chain(of_kind(all, "RoleBinding"))
    {
        assert_eq!(binding["subjects"][0]["name"], "osds-csi-controller");
        assert_eq!(binding["roleRef"]["name"], "osds-csi-controller");
    }
}

#[test]
fn values_that_cannot_be_meant_are_refused() {
    let Some(helm) = helm("values_that_cannot_be_meant_are_refused") else { return };
    for bad in [
        "driver.endpoint=osds:50040",
        "driver.name=a_b",
        "driver.nmae=x",
        "controller.replicas=0",
        "storageClasses[0].fsType=ntfs",
    ] {
        let refusal = template(&helm, &["--set", bad]).expect_err(bad);
        assert!(refusal.contains("values don't meet the specifications"), "{bad}: {refusal}");
    }
}

#[test]
fn every_manifest_is_as_kubernetes_wants_it() {
    const TEST: &str = "every_manifest_is_as_kubernetes_wants_it";
    let below = "kubernetes-validate/bin/kubernetes-validate";
    let variable = "OSDS_KUBERNETES_VALIDATE";
    let Some(validate) = program(TEST, variable, below, "kubernetes-validate") else { return };
    let Some(helm) = helm(TEST) else { return };
    let home = tempfile::tempdir().unwrap();
    let check = |version: &str, name: &str, text: &str| -> Result<usize, String> {
        let file = home.path().join(format!("{name}.yaml"));
        fs::write(&file, text).unwrap();
        let arguments = ["--kubernetes-version", version, "--strict"];
        let output = Command::new(&validate).args(arguments).arg(&file).output().unwrap();
        let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
        // It has no schema of what is not Kubernetes' own.
        let foreign = ["snapshot.storage.k8s.io/", "kubevirt.io/", "cdi.kubevirt.io/"];
        for line in said.lines().filter(|line| line.contains("Couldn't find schema")) {
            assert!(foreign.iter().any(|group| line.contains(group)), "{line}");
        }
        let passed = said.matches(" passed for resource ").count();
        if output.status.success() { Ok(passed) } else { Err(said) }
    };
    for (number, (version, way)) in WAYS.into_iter().enumerate() {
        let text = template(&helm, way).unwrap();
        let passed = check(version, &format!("way{number}"), &text).unwrap();
        assert!(passed >= 11, "{passed} objects looked at");
        // It does look.
        let broken = text.replace("attachRequired: true", "attachRequired: often");
        check(version, "broken", &broken).unwrap_err();
        let unknown = text.replace("podInfoOnMount:", "podInfoOnMoutn:");
        check(version, "unknown", &unknown).unwrap_err();
    }
    for (path, _) in examples() {
        let name = path.file_stem().unwrap().to_string_lossy().into_owned();
        check("1.35", &name, &fs::read_to_string(&path).unwrap()).unwrap();
    }
}

#[test]
fn examples_ask_for_what_the_driver_gives() {
    let values = fs::read_to_string(root().join("deploy/helm/osds-csi/values.yaml")).unwrap();
    let values = &documents("values.yaml", &values)[0];
    assert_eq!(values["driver"]["name"], DRIVER);
    let classes =
        items(&values["storageClasses"]).iter().map(|class| class["name"].as_str().unwrap());
    let classes: BTreeSet<_> = classes.chain([""]).collect();
    let examples = examples();
    assert!(examples.len() >= 8);
    let mut aliases = 0;
    for object in examples.iter().flat_map(|(_, documents)| documents) {
        assert!(
            object["apiVersion"].is_string() && object["metadata"]["name"].is_string(),
            "{object}"
        );
        let spec = &object["spec"];
        let modes = texts(&spec["accessModes"]);
        let many = modes.iter().any(|mode| mode.ends_with("Many"));
        // Many nodes share blocks, never a file system.
        assert!(!many || spec["volumeMode"] == "Block", "{object}");
        if object["kind"] == "PersistentVolumeClaim" {
            assert!(classes.contains(spec["storageClassName"].as_str().unwrap()), "{object}");
        }
        if object["kind"] == "VolumeGroupSnapshot" {
            // It finds claims that are beside it, and asks for the chart's class.
            let class = &values["groupSnapshotClass"]["name"];
            assert_eq!(&spec["volumeGroupSnapshotClassName"], class);
            let label = &spec["source"]["selector"]["matchLabels"];
            let all = examples.iter().flat_map(|(_, documents)| documents);
            let found = all.filter(|one| one["metadata"]["labels"] == *label).count();
            assert_eq!(found, 2, "{object}");
        }
        if object["kind"] == "PersistentVolume" {
            assert_eq!(spec["csi"]["driver"], DRIVER);
            let read_only = spec["csi"]["volumeHandle"].as_str().unwrap().ends_with("#ro");
            assert_eq!(read_only, modes == ["ReadOnlyMany"], "{object}");
            aliases += usize::from(read_only);
        }
    }
    assert_eq!(aliases, 1);
    // The driver calls itself the same.
    if let Ok(source) = fs::read_to_string(root().join("crates/csi/src/lib.rs")) {
        assert!(source.contains(&format!("DRIVER_NAME: &str = \"{DRIVER}\"")));
    }
}
