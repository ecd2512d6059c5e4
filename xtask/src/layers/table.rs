//! The table of layers: every rule on one page, each with its reason.
//!
//! Mirrors section "Who may import whom" of ARCHITECTURE.md; change both in one commit, with an
//! ADR when a wall moves. Crates are named by their folder under `crates/`. What is not allowed
//! here is forbidden, so a new crate must get a line before it can be built in CI.

/// What one crate of ours may import of the others.
pub struct CrateRule {
    /// Folder under `crates/`.
    pub folder: &'static str,
    /// Folders it may depend on when shipped.
    pub may: May,
    /// What its tests may see beyond that.
    pub tests: Tests,
    /// Why the line is drawn here.
    pub why: &'static str,
}

/// Which of our crates.
pub enum May {
    /// These and no others.
    Only(&'static [&'static str]),
    /// All but these.
    AllBut(&'static [&'static str]),
}

/// What tests (dev-dependencies) may import of our crates.
pub enum Tests {
    /// Nothing more than the shipped crate, so that what is pure is also tested alone.
    AsShipped,
    /// Any crate below `osds` that does not itself depend on this one: a test may set up a scene.
    Scene,
}

/// Who may import whom.
pub const CRATES: &[CrateRule] = &[
    CrateRule {
        folder: "model",
        may: May::Only(&[]),
        tests: Tests::AsShipped,
        why: "the nouns know nobody",
    },
    CrateRule {
        folder: "lifecycle",
        may: May::Only(&["model"]),
        tests: Tests::AsShipped,
        why: "rules are pure functions over the nouns, so that they can be checked exhaustively",
    },
    CrateRule {
        folder: "selector",
        may: May::Only(&["model"]),
        tests: Tests::AsShipped,
        why: "the choice of a pool is a pure function over the nouns",
    },
    CrateRule {
        folder: "policy",
        may: May::Only(&[]),
        tests: Tests::AsShipped,
        why: "what a policy file allows is a pure function of the caller and the target",
    },
    CrateRule {
        folder: "store",
        may: May::Only(&["model", "lifecycle"]),
        tests: Tests::Scene,
        why: "a store keeps records; what they mean is decided elsewhere, and of lifecycle it asks \
              only the status words that it finds records by (ADR 0004)",
    },
    CrateRule {
        folder: "keyring",
        may: May::Only(&["model"]),
        tests: Tests::AsShipped,
        why: "what opens secrets is small enough to be read whole, and asks nobody",
    },
    CrateRule {
        folder: "iscsi",
        may: May::Only(&[]),
        tests: Tests::AsShipped,
        why: "an iSCSI target for anybody: no word of ours in it",
    },
    CrateRule {
        folder: "drivers",
        may: May::Only(&["model", "iscsi"]),
        tests: Tests::Scene,
        why: "a driver turns a wish into blocks and knows neither dock nor controller",
    },
    CrateRule {
        folder: "dock-api",
        may: May::Only(&["model"]),
        tests: Tests::Scene,
        why: "the promise between controller and dock is made of nouns only",
    },
    CrateRule {
        folder: "dock",
        may: May::Only(&["model", "lifecycle", "keyring", "drivers", "dock-api"]),
        tests: Tests::Scene,
        why: "a dock works from its ledger: it never sees the store or the controller",
    },
    CrateRule {
        folder: "controller",
        may: May::Only(&["model", "lifecycle", "selector", "store", "keyring", "dock-api"]),
        tests: Tests::Scene,
        why: "the controller speaks to docks by contract, never to drivers or to the wire",
    },
    CrateRule {
        folder: "rest-api",
        may: May::Only(&["model"]),
        tests: Tests::Scene,
        why: "the promise to users is made of nouns and wire names only",
    },
    CrateRule {
        folder: "rest",
        may: May::Only(&["model", "controller", "policy", "rest-api"]),
        tests: Tests::Scene,
        why: "a route translates and calls a use-case; it never reaches around the controller",
    },
    CrateRule {
        folder: "connector",
        may: May::Only(&["model"]),
        tests: Tests::Scene,
        why: "a host needs nothing of the control plane to take a volume down",
    },
    CrateRule {
        folder: "ctl",
        may: May::Only(&["rest-api", "keyring"]),
        tests: Tests::Scene,
        why: "the command line is a user like any other: it knows only REST, and encrypted passwords",
    },
    CrateRule {
        folder: "csi",
        may: May::Only(&["model", "lifecycle", "rest-api", "connector"]),
        tests: Tests::Scene,
        why: "the driver is a user like any other: it knows REST and its own machine, and decides nothing",
    },
    CrateRule {
        folder: "testkit",
        may: May::AllBut(&["osds"]),
        tests: Tests::Scene,
        why: "a whole cluster in one process, wired without the daemon",
    },
    CrateRule {
        folder: "osds",
        may: May::AllBut(&[]),
        tests: Tests::Scene,
        why: "the only place where both sides are wired together",
    },
];

/// A crate from outside that only some of ours may depend on.
pub struct ForeignCrate {
    /// Name on the registry; a `*` at the end stands for any ending.
    pub name: &'static str,
    /// Folders that may ship with it (`xtask` is the workshop).
    pub only_in: &'static [&'static str],
    /// Do tests have to obey as well?
    pub tests_too: bool,
    /// Why only there.
    pub why: &'static str,
}

/// Foreign crates with one home.
pub const FOREIGN: &[ForeignCrate] = &[
    ForeignCrate {
        name: "redb",
        only_in: &["store"],
        tests_too: true,
        why: "the database can be replaced as long as only the store knows it",
    },
    ForeignCrate {
        name: "etcd-client",
        only_in: &["store"],
        tests_too: true,
        why: "the database can be replaced as long as only the store knows it",
    },
    ForeignCrate {
        name: "axum",
        only_in: &["rest", "osds", "testkit"],
        tests_too: false,
        why: "HTTP ends at the routes; osds and testkit only serve what rest built",
    },
    ForeignCrate {
        name: "tonic",
        only_in: &["dock-api", "dock", "csi", "osds", "testkit"],
        tests_too: false,
        why: "gRPC ends at the contract between controller and dock, and at CSI",
    },
    ForeignCrate {
        name: "anyhow",
        only_in: &["osds", "ctl", "xtask"],
        tests_too: false,
        why: "a library's errors have a kind (thiserror); only a main may forget it",
    },
    ForeignCrate {
        name: "clap*",
        only_in: &["osds", "ctl", "xtask"],
        tests_too: false,
        why: "only programs have a command line",
    },
    ForeignCrate {
        name: "chacha20poly1305",
        only_in: &["keyring"],
        tests_too: true,
        why: "how secrets are sealed is decided, and can be changed, in one place",
    },
    ForeignCrate {
        name: "stateright",
        only_in: &[],
        tests_too: false,
        why: "the model checker is for tests",
    },
];

/// Words (paths) of the source that have one home, or that a place must not know.
pub struct WordRule {
    /// Short name, shown in findings.
    pub name: &'static str,
    /// Paths; see [`super::words::names`] for how they match.
    pub words: &'static [&'static str],
    /// Folders under `crates/` that are held to it; empty means all of them.
    pub within: &'static [&'static str],
    /// Files (or folders, with a `/` at the end) that may name them all the same.
    pub home: &'static [&'static str],
    /// Why.
    pub why: &'static str,
    /// What to do instead.
    pub remedy: &'static str,
}

/// What is pure.
const PURE: &[&str] = &["model", "lifecycle", "policy", "selector"];

/// Words with one home. Tests are not held to these.
pub const WORDS: &[WordRule] = &[
    WordRule {
        name: "pure-no-async",
        words: &["tokio::", "tokio_util::", "futures::", "async_trait::", "async", "await"],
        within: PURE,
        home: &[],
        why: "rules decide, they do not wait",
        remedy: "take the values you need as arguments and let controller or dock do the waiting",
    },
    WordRule {
        name: "pure-no-tracing",
        words: &["tracing::", "tracing_subscriber::", "log::", "println", "eprintln", "dbg"],
        within: PURE,
        home: &[],
        why: "a rule that is checked a million times must not talk",
        remedy: "return what is worth saying; whoever commits it logs it",
    },
    WordRule {
        name: "pure-no-clock",
        words: &["SystemTime", "Instant", "jiff::", "chrono::", "time::OffsetDateTime"],
        within: PURE,
        home: &[],
        why: "the same values must give the same verdict tomorrow",
        remedy: "take the time as an argument",
    },
    WordRule {
        name: "pure-no-randomness",
        words: &["rand::", "getrandom::", "fastrand::", "new_v4", "now_v7", "RandomState"],
        within: PURE,
        home: &[],
        why: "the same values must give the same verdict on every run",
        remedy: "take the id as an argument; the controller makes ids",
    },
    WordRule {
        name: "pure-no-http",
        words: &["axum::", "http::", "hyper::", "ureq::", "reqwest::", "tonic::"],
        within: PURE,
        home: &[],
        why: "the wire is translated at the edge",
        remedy: "return a typed refusal; rest/src/errors.rs gives it a status",
    },
    WordRule {
        name: "pure-no-world",
        words: &[
            "std::process",
            "std::fs",
            "std::thread",
            "std::env",
            "rustix::",
            "TcpStream",
            "TcpListener",
            "UdpSocket",
            "UnixStream",
            "UnixListener",
            "ToSocketAddrs",
        ],
        within: PURE,
        home: &[],
        why: "nothing outside the arguments may change a verdict",
        remedy: "do the effect in a driver or at the edge and pass its result in",
    },
    WordRule {
        name: "redb-one-home",
        words: &["redb::"],
        within: &[],
        home: &["crates/store/src/embedded.rs", "crates/store/src/embedded/"],
        why: "the database can be replaced as long as one file knows it",
        remedy: "go through the trait Store, or extend it",
    },
    WordRule {
        name: "etcd-one-home",
        words: &["etcd_client::"],
        within: &[],
        home: &["crates/store/src/etcd.rs", "crates/store/src/etcd/"],
        why: "the database can be replaced as long as one file knows it",
        remedy: "go through the trait Store, or extend it",
    },
    WordRule {
        name: "processes-one-home",
        words: &["tokio::process"],
        within: &[],
        home: &["crates/process/"],
        why: "a program that is run needs a time limit, its words kept, and a transcript for tests",
        remedy: "run it through the crate process",
    },
    WordRule {
        name: "status-codes-one-home",
        words: &["StatusCode", "axum::http::status"],
        within: &[],
        // The client only reads them.
        home: &["crates/rest/src/errors.rs", "crates/rest-api/src/client.rs"],
        why: "which refusal becomes which status is decided in one exhaustive match",
        remedy: "return the typed answer or error and let rest/src/errors.rs give it its status",
    },
    WordRule {
        name: "grpc-codes-one-home",
        words: &["tonic::Code", "tonic::Status"],
        within: &[],
        home: &["crates/csi/src/status.rs", "crates/dock-api/"],
        why: "which refusal becomes which code is decided in one exhaustive match",
        remedy: "return the typed error and let the edge give it its code",
    },
    WordRule {
        name: "iscsi-one-home",
        words: &["osds_iscsi::"],
        within: &["drivers"],
        home: &["crates/drivers/src/target/embedded.rs", "crates/drivers/src/target/embedded/"],
        why: "a target driver hides which target it drives",
        remedy: "go through the trait TargetDriver",
    },
];
