//! Every key of the original's `opensds.conf`, and what becomes of it.
//!
//! A key that is carried over is read where the new file is written; one that has no equivalent has
//! the words for its owner here: why there is none, and what to do instead. A key that is in neither
//! list is a slip or of another program, and is named as such.

/// Sections that are not backends.
pub(crate) const API: &str = "osdsapiserver";
pub(crate) const LET: &str = "osdslet";
pub(crate) const DOCK: &str = "osdsdock";
pub(crate) const DATABASE: &str = "database";
pub(crate) const KEYSTONE: &str = "keystone_authtoken";

/// What becomes of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    /// It is read by the conversion, which also says what is odd about it.
    Carried,
    /// It has no equivalent: why, and what to do.
    Without(&'static str),
    /// It changes nothing any more, and nothing is to be done.
    Moot,
}

use Fate::{Carried, Moot, Without};

const ONE_PROCESS: Fate =
    Without("API, controller and docks are one process, and only the API has a port");
const FOREGROUND: Fate =
    Without("osds stays in the foreground; run it under systemd, which restarts it as well");
const LOGS: Fate = Without("log lines go to standard error at once; let journald keep them");
const PUSHED: Fate = Without("figures are not pushed anywhere; let Prometheus fetch them");
const EDITED: Fate = Without(
    "osds does not edit or restart other programs; configure them yourself, where they run",
);
const REPLICATION: Fate = Without("volumes are not replicated yet");

const FIXED: &[(&str, &[(&str, Fate)])] = &[
    (
        API,
        &[
            ("api_endpoint", Carried),
            ("auth_strategy", Carried),
            ("policy_path", Carried),
            ("https_enabled", Carried),
            ("beego_https_cert_file", Carried),
            ("beego_https_key_file", Carried),
            ("beego_server_time_out", Carried),
            (
                "api_spec_path",
                Without("requests are checked without a file; GET /openapi.json has it"),
            ),
            ("daemon", FOREGROUND),
            ("log_flush_frequency", LOGS),
            ("password_decrypt_tool", Moot),
            ("prometheus_conf_home", EDITED),
            ("prometheus_url", EDITED),
            ("prometheus_conf_file", EDITED),
            ("alertmgr_conf_home", EDITED),
            ("alertmgr_url", EDITED),
            ("alertmgr_conf_file", EDITED),
            ("grafana_conf_home", EDITED),
            ("grafana_restart_cmd", EDITED),
            ("grafana_conf_file", EDITED),
            ("grafana_url", EDITED),
            ("conf_reload_url", EDITED),
        ],
    ),
    (
        LET,
        &[
            ("api_endpoint", ONE_PROCESS),
            ("daemon", FOREGROUND),
            ("log_flush_frequency", LOGS),
            ("prometheus_push_mechanism", PUSHED),
            ("prometheus_push_gateway_url", PUSHED),
            ("node_exporter_watch_folder", PUSHED),
            ("kafka_endpoint", PUSHED),
            ("kafka_topic", PUSHED),
            ("alertmgr_url", EDITED),
            ("grafana_url", EDITED),
        ],
    ),
    (
        DOCK,
        &[
            ("enabled_backends", Carried),
            ("dock_type", Carried),
            ("api_endpoint", ONE_PROCESS),
            ("daemon", FOREGROUND),
            ("log_flush_frequency", LOGS),
            (
                "bind_ip",
                Without("there are no attacher docks: hosts log in to the target themselves"),
            ),
            ("host_based_replication_driver", REPLICATION),
        ],
    ),
    (
        DATABASE,
        &[
            ("driver", Carried),
            ("endpoint", Carried),
            ("username", Moot),
            ("password", Moot),
            ("enableTLS", Moot),
            ("cert_file", Moot),
            ("key_file", Moot),
            ("ca_file", Moot),
            ("allowClientAuth", Moot),
            ("credential", Moot),
        ],
    ),
    (
        KEYSTONE,
        &[
            ("auth_url", Carried),
            ("auth_uri", Carried),
            ("username", Carried),
            ("password", Carried),
            ("enable_encrypted", Carried),
            ("pwd_encrypter", Carried),
            ("user_domain_name", Carried),
            ("project_name", Carried),
            ("project_domain_name", Carried),
            ("cafile", Carried),
            ("auth_type", Carried),
            (
                "memcached_servers",
                Without("proven tokens are remembered by osds itself: token_cache"),
            ),
            ("signing_dir", Moot),
        ],
    ),
];

const BACKEND: &[(&str, Fate)] = &[
    ("name", Carried),
    ("description", Carried),
    ("driver_name", Carried),
    ("config_path", Carried),
    ("support_replication", Carried),
];

/// What becomes of a key; `None` when the original has none of this name.
pub(crate) fn fate(section: &str, key: &str) -> Option<Fate> {
    let of = |keys: &[(&str, Fate)]| keys.iter().find(|(name, _)| *name == key).map(|(_, f)| *f);
    match FIXED.iter().find(|(name, _)| *name == section) {
        Some((_, keys)) => of(keys),
        None if driver_file(section).is_some() => of(BACKEND),
        None => None,
    }
}

/// Where the original looks for the driver YAML of a backend for which nothing is said; `None` when
/// it has no such backend.
pub(crate) fn driver_file(backend: &str) -> Option<&'static str> {
    Some(match backend {
        "ceph" => "/etc/opensds/driver/ceph.yaml",
        "cinder" => "/etc/opensds/driver/cinder.yaml",
        "sample" => "/etc/opensds/driver/sample.yaml",
        "lvm" => "/etc/opensds/driver/lvm.yaml",
        "spectrumscale" => "/etc/opensds/driver/spectrumscale.yaml",
        "huawei_oceanstor_block" => "/etc/opensds/driver/huawei_oceanstor_block.yaml",
        "huawei_fusionstorage" => "/etc/opensds/driver/fusionstorage.yaml",
        "huawei_oceanstor_file" => "/etc/opensds/driver/huawei_oceanstor_file.yaml",
        "hpe_nimble" => "/etc/opensds/driver/hpe_nimble.yaml",
        "nfs" => "/etc/opensds/driver/nfs.yaml",
        "manila" => "/etc/opensds/driver/manila.yaml",
        "fujitsu_eternus" => "/etc/opensds/driver/fujitsu_eternus.yaml",
        "chubaofs" => "/etc/opensds/driver/chubaofs.yaml",
        "netapp_ontap_san" => "/etc/opensds/driver/netapp_ontap_san.yaml",
        _ => return None,
    })
}

/// Whether this section is one of the fixed ones.
pub(crate) fn is_fixed(section: &str) -> bool {
    FIXED.iter().any(|(name, _)| *name == section)
}
