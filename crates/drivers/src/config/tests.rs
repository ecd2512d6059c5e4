//! The examples can be read, and each mistake says where it is, what it is, and what is right.

use std::path::Path;

use expect_test::{Expect, expect};
use osds_model::Capacity;

use super::*;

const FUSION: &str = include_str!("../../../../docs/examples/fusionstorage.yaml");
const FILE: &str = include_str!("../../../../docs/examples/file.yaml");

fn file(text: &str) -> Result<Loaded<FileConfig>, ConfigError> {
    FileConfig::parse(Path::new("/etc/osds/file.yaml"), text)
}

#[test]
fn the_example_of_the_file_driver() {
    let Loaded { config, warnings } = file(FILE).unwrap();
    assert_eq!(warnings, []);
    let [shared, single] = &config.pools[..] else { panic!("{config:?}") };
    assert!(shared.pool.multi_attach && !single.pool.multi_attach);
    assert_eq!(shared.path, Path::new("/var/lib/osds/pools/shared"));
    assert_eq!(shared.capacity, Capacity::from_gib(10));
    assert_eq!((single.path.as_path(), single.capacity), (Path::new("/srv/osds-single"), None));
    let spec = shared.pool.spec(Capacity::from_bytes(2), Capacity::from_bytes(1));
    assert_eq!(
        (spec.name.as_str(), spec.availability_zone.as_str(), spec.multi_attach),
        ("shared", "default", true)
    );
    let extras = serde_json::to_string(&spec.extras).unwrap();
    expect![[r#"{"dataStorage":{"provisioningPolicy":"Thin","compression":false,"deduplication":false},"ioConnectivity":{"accessProtocol":"iscsi","maxIOPS":7000000,"maxBWS":600},"dataProtection":{"isIsolated":false},"advanced":{"diskType":"SSD","latency":"3ms"}}"#]]
    .assert_eq(&extras);
}

#[test]
fn the_example_of_the_multi_attach_design() {
    let loaded = FusionStorageConfig::parse(Path::new("fusionstorage.yaml"), FUSION).unwrap();
    let Loaded { config, warnings } = loaded;
    assert_eq!(warnings, []);
    // The one that the design has printed.
    assert_eq!(config.password.expose(), "IaaS@PORTAL-CLOUD9!");
    assert!(!format!("{config:?}").contains("PORTAL"));
    assert_eq!((config.username.as_str(), config.encrypted), ("admin", false));
    assert_eq!((config.url.as_str(), config.fm_ip.as_str()), ("https://0.0.0.0:8088", "0.0.0.0"));
    assert_eq!(config.version, "8.0");
    assert_eq!(config.fsa_ips, ["0.0.0.1", "0.0.0.2", "0.0.0.3"]);
    let [first, second] = &config.pools[..] else { panic!("{config:?}") };
    assert_eq!((first.name.as_str(), second.name.as_str()), ("0", "1"));
    assert!(first.multi_attach && second.multi_attach);
    assert_eq!(first.extras.data_storage.is_space_efficient, Some(false));
    assert_eq!(first.extras.io_connectivity.max_iops, 7_000_000);
    assert_eq!(second.extras.advanced["latency"], "500ms");
}

#[test]
fn a_text_is_what_was_written_even_where_yaml_sees_a_number() {
    let text = "
authOptions: {username: 0123, password: 1_000, url: x, version: 8.0, fsaIp: 10.0}
pool:
  007: {availabilityZone: 1.50, extras: {advanced: {a: 1.50, b: yes, c: {d: [1, x]}}}}
";
    let config = FusionStorageConfig::parse(Path::new("x"), text).unwrap().config;
    assert_eq!((config.username.as_str(), config.password.expose()), ("0123", "1_000"));
    assert_eq!(config.fsa_ips, ["10.0"]);
    assert_eq!(config.pools[0].name, "007");
    assert_eq!(config.pools[0].availability_zone, "1.50");
    let advanced = serde_json::to_string(&config.pools[0].extras.advanced).unwrap();
    assert_eq!(advanced, r#"{"a":1.5,"b":true,"c":{"d":[1,"x"]}}"#);
}

#[test]
fn an_array_is_of_release_8_0_or_6_3() {
    let read = |version: &str| {
        let text = format!(
            "authOptions: {{username: u, password: p, url: x{version}}}\npool: {{0: {{}}}}\n"
        );
        FusionStorageConfig::parse(Path::new("x"), &text).map(|loaded| loaded.config.version)
    };
    for (said, version) in [("", "8.0"), (", version: \"6.3\"", "6.3"), (", version: 6.3", "6.3")] {
        assert_eq!(read(said).unwrap(), version);
    }
    assert!(read(", version: 7").unwrap_err().to_string().contains("must be 6.3 or 8.0"));
}

#[test]
fn booleans_of_yaml_and_go() {
    for (word, flag) in [
        ("true", true),
        ("True", true),
        ("TRUE", true),
        ("yes", true),
        ("on", true),
        ("\"true\"", true),
        ("'True'", true),
        ("false", false),
        ("No", false),
        ("OFF", false),
        ("", false),
        ("~", false),
    ] {
        let config = file(&format!("pool: {{a: {{path: /p, multiAttach: {word}}}}}")).unwrap();
        assert_eq!(config.config.pools[0].pool.multi_attach, flag, "{word}");
    }
}

#[test]
fn what_is_not_known_is_passed_over_with_a_warning() {
    let text = "
baseDir: pools
tgtBindIp: 127.0.0.1
pool:
  a:
    multiattach: true
    diskType: SSD
    extras:
      ioConnectivity: {maxiops: 3}
      other: {}
";
    let Loaded { config, warnings } = file(text).unwrap();
    assert_eq!(config.pools[0].path, Path::new("/etc/osds/pools/a"));
    let lines: Vec<String> = warnings.iter().map(ToString::to_string).collect();
    expect![[r#"
        /etc/osds/file.yaml:9:24: pool.a.extras.ioConnectivity.maxiops is not known and is ignored: did you mean maxIOPS?
        /etc/osds/file.yaml:10:7: pool.a.extras.other is not known and is ignored
        /etc/osds/file.yaml:6:5: pool.a.multiattach is not known and is ignored: did you mean multiAttach?
        /etc/osds/file.yaml:7:5: pool.a.diskType is not known and is ignored
        /etc/osds/file.yaml:3:1: tgtBindIp is not known and is ignored"#]]
    .assert_eq(&lines.join("\n"));
}

#[test]
fn mistakes_say_where_what_and_how_it_would_be_right() {
    let check = |text: &str, expected: Expect| {
        expected.assert_eq(&file(text).unwrap_err().to_string());
    };
    check(
        "pool:\n  a:\n    path: /p\n    multiAttach: maybe\n",
        expect![[
            r#"/etc/osds/file.yaml:4:18: pool.a.multiAttach is "maybe", and it must be true or false; write multiAttach: true or multiAttach: false"#
        ]],
    );
    check(
        "pool: {a: {path: /p, storageType: blok}}",
        expect![[
            r#"/etc/osds/file.yaml:1:35: pool.a.storageType is "blok", and it must be one of block, file, object; write for example storageType: block"#
        ]],
    );
    check(
        "pool: {a: {path: /p, storageType: file}}",
        expect![[
            r#"/etc/osds/file.yaml:1:35: pool.a.storageType is "file", and it must be block for this driver; write storageType: block"#
        ]],
    );
    check(
        "pool: {a: {path: /p, extras: {ioConnectivity: {latency: 3ms}}}}",
        expect![[
            r#"/etc/osds/file.yaml:1:57: pool.a.extras.ioConnectivity.latency is "3ms", and it must be a whole number of at least 0; write for example latency: 1000, without a unit"#
        ]],
    );
    check(
        "pool:\n  a: {path: /p}\n  b: {path: /q}\n  a: {path: /r}\n",
        expect![
            "/etc/osds/file.yaml:4:3: pool.a is there twice, first in line 2; keep one of them, or give the other another name"
        ],
    );
    check(
        "baseDir: /x\n",
        expect![
            "/etc/osds/file.yaml:1:1: pool is missing, and it must describe at least one pool; write pool: and below it, indented, one name: for each pool"
        ],
    );
    check(
        "pool:\n",
        expect![
            "/etc/osds/file.yaml:1:1: pool is empty, and it must describe at least one pool; write pool: and below it, indented, one name: for each pool"
        ],
    );
    check(
        "pool: []\n",
        expect![
            "/etc/osds/file.yaml:1:1: pool is a list, and it must hold further keys; write pool: and its keys indented in the lines below"
        ],
    );
    check(
        "baseDir: /x\npool:\n  a:\n",
        expect![
            "/etc/osds/file.yaml:3:3: pool.a is empty, and it must describe the pool; write a: and, indented below it, storageType: block"
        ],
    );
    check(
        "# nothing\n",
        expect![
            "/etc/osds/file.yaml:2:1: the file holds no settings; begin with a line pool: and describe the pools below it"
        ],
    );
    check(
        "pool:\n  a: {}\n",
        expect![
            "/etc/osds/file.yaml:2:6: pool.a.path is missing, and it must say where this pool's directory is, as there is no baseDir; write path: and the directory, or baseDir: at the top of the file"
        ],
    );
    check(
        "baseDir: /x\npool:\n  ../a: {multiAttach: true}\n",
        expect![
            "/etc/osds/file.yaml:3:9: pool.../a.path is missing, and it must say where this pool's directory is, as its name cannot be one; write path: and the directory"
        ],
    );
    check(
        "baseDir: /x\npool:\n  a: {multiAttach: true}\n  b: {path: /x/./a}\n",
        expect![
            "/etc/osds/file.yaml:4:3: pool.b must have a directory of its own: /x/./a is pool a's; write another path: for one of them"
        ],
    );
    check(
        "pool: {a: {path: /p, capacity: 10}}",
        expect![[
            r#"/etc/osds/file.yaml:1:32: pool.a.capacity is "10", and it must be a number with one of the units MiB, GiB, TiB; write for example capacity: 10GiB"#
        ]],
    );
    check(
        "pool:\n  a: {path: /p}\n b: {}\n",
        expect![
            "/etc/osds/file.yaml:3:2: while parsing a block mapping, did not find expected key; compare the line with the examples in docs/examples"
        ],
    );
}

#[test]
fn capacities_have_a_unit() {
    for (text, bytes) in [
        ("10GiB", Some(10 << 30)),
        ("10 GiB", Some(10 << 30)),
        ("512MiB", Some(512 << 20)),
        ("2TiB", Some(2 << 40)),
        ("0GiB", None),
        ("10GB", None),
        ("1.5GiB", None),
        ("-1GiB", None),
        ("99999999999TiB", None),
    ] {
        let config = file(&format!("pool: {{a: {{path: /p, capacity: {text}}}}}"));
        let read = config.ok().map(|loaded| loaded.config.pools[0].capacity.unwrap().bytes());
        assert_eq!(read, bytes, "{text}");
    }
}

#[test]
fn a_secret_is_in_no_message() {
    for text in [
        "authOptions: {username: a, password: [hunter2]}\npool: {0: {}}",
        "authOptions:\n  username: a\n  password: @hunter2\npool: {0: {}}",
        "authOptions: {password: *hunter2}\npool: {0: {}}",
        "authOptions:\n  password: *hunter2\npool: {0: {}}",
        "authOptions:\n  username: a\n  password: !!int hunter2\npool: {0: {}}",
        "authOptions:\n  username: a\n  password: 'hunter2\npool: {0: {}}",
        "authOptions:\n  username: a\n  password: hunter2: x\npool: {0: {}}",
        "authOptions:\n  username: a\n  password: \"hunter2\\q\"\npool: {0: {}}",
    ] {
        let error = FusionStorageConfig::parse(Path::new("x"), text).unwrap_err();
        let told = format!("{error} {error:?}");
        assert!(!told.contains("hunter2"), "{told}");
    }
}

#[test]
fn a_file_that_cannot_be_read_is_named() {
    let error = FileConfig::load(Path::new("/nonexistent/file.yaml")).unwrap_err();
    assert_eq!(error.to_string(), "cannot read the driver configuration /nonexistent/file.yaml");
}
