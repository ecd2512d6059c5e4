//! The original's answers (its capture `golden-8-selector`), row by row.
//!
//! The original takes the first pool by id that fits and this one the freest, so what is compared
//! is the first *fitting* pool by id. Where this grammar goes beyond the original, the row says so.

use serde_json::{Value, json};

use crate::fixtures::{ask, captured_pools, profile};
use crate::{check_profile, explain};

/// The original's answer to one custom property.
enum Original {
    /// It took this pool.
    Took(&'static str),
    /// The volume ended in error; so it is here: no pool fits.
    NoPool,
    /// The volume ended in error; here the profile is refused before.
    Refused,
    /// It ended in error or took a pool that was not asked for; here it is this pool.
    Mended(&'static str),
}

#[test]
fn every_row_of_the_capture() {
    use Original::{Mended, NoPool, Refused, Took};
    let rows: [(Value, Original); 21] = [
        (json!({"diskType": "NOPE"}), Took("084bf71e")),
        (json!({"capabilities:extras.advanced.diskType": "SAS"}), Took("a594b8ac")),
        (json!({"capabilities:extras.advanced.diskType": "<or> SAS <or> NL"}), Took("a594b8ac")),
        (json!({"capabilities:extras.advanced.diskType": "<in> S[A]S"}), Took("a594b8ac")),
        (json!({"capabilities:extras.advanced.diskType": "s!= ssd"}), Took("a594b8ac")),
        // The original overwrites this demand with the volume's size: it took a pool of 90 GiB.
        (json!({"capabilities:freeCapacity": ">= 100"}), Mended("a594b8ac")),
        (json!({"capabilities:totalCapacity": "== 200"}), Took("a594b8ac")),
        (json!({"capabilities:totalCapacity": 200}), Took("a594b8ac")),
        (json!({"capabilities:totalCapacity": "> 100"}), Mended("a594b8ac")),
        (json!({"capabilities:multiAttach": true}), Took("084bf71e")),
        (json!({"capabilities:multiAttach": "true"}), Took("084bf71e")),
        (json!({"capabilities:multiAttach": "<is> TRUE"}), Took("084bf71e")),
        (json!({"capabilities:multiAttach": "<is> 1"}), Took("084bf71e")),
        (json!({"capabilities:multiAttach": "<is> yes"}), Refused),
        (json!({"capabilities:multiAttach": "<is> false"}), Took("a594b8ac")),
        (json!({"capabilities:nosuch": "x"}), NoPool),
        (json!({"capabilities:name": "sample-pool-02"}), Took("a594b8ac")),
        (json!({"capabilities:id": "a594b8ac-a103-11e7-985f-d723bcf01b5f"}), Took("a594b8ac")),
        (json!({"capabilities:extras.dataStorage.storageAccessCapability": ["Read"]}), NoPool),
        (json!({":multiAttach": "<is> true"}), Took("084bf71e")),
        (json!({"capabilities:multiAttach:x": "<is> true"}), Took("084bf71e")),
    ];
    let pools = captured_pools();
    for (custom, original) in rows {
        let profile = profile(custom.clone());
        let fitting = explain(&pools, &ask(&profile)).into_iter().filter(crate::Verdict::fits);
        let first = fitting.map(|verdict| verdict.pool.to_string()).min();
        let first = first.as_deref().map(|id| &id[..8]);
        let checked = check_profile(&profile);
        match original {
            Took(pool) | Mended(pool) => {
                assert_eq!(first, Some(pool), "{custom}");
                assert_eq!(checked, Ok(()), "{custom}");
            }
            NoPool => {
                assert_eq!(first, None, "{custom}");
                assert_eq!(checked, Ok(()), "{custom}");
            }
            Refused => {
                assert_eq!(first, None, "{custom}");
                assert!(checked.is_err(), "{custom}");
            }
        }
    }
}
