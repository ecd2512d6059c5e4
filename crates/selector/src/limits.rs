//! The limits that a profile puts on its volumes.
//!
//! `provisioningProperties.ioConnectivity.maxIOPS` and `maxBWS` say two things at once: a pool must
//! state at least as much (that is OpenSDS's rule, in `profile`), and a volume gets no more. The
//! custom properties `maxIOPSPerHost` and `maxBWSPerHost`, which are ours, limit each host by
//! itself. Bandwidth is in MB/s, a million bytes. 0, which is what OpenSDS writes for "not said",
//! limits nothing.

use std::num::NonZeroU64;

use osds_model::{IoLimits, IoRate, Profile};
use serde_json::Value;

use crate::grammar::shortened;

/// Bytes in one MB.
const MB: u64 = 1_000_000;

const IOPS: &str = "provisioningProperties.ioConnectivity.maxIOPS";
const BANDWIDTH: &str = "provisioningProperties.ioConnectivity.maxBWS";
const IOPS_OF_HOST: &str = "maxIOPSPerHost";
const BANDWIDTH_OF_HOST: &str = "maxBWSPerHost";

/// A limit that is none.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{field} is {text}: it must be a whole number of {unit} between 0 and {most}, where 0 means without a limit"
)]
pub struct BadLimit {
    /// Where it stands.
    pub field: &'static str,
    /// What stands there, as JSON.
    pub text: String,
    /// What it counts.
    pub unit: &'static str,
    /// The largest that can be understood.
    pub most: u64,
}

/// The limits that volumes of this profile get.
///
/// # Errors
/// A number is negative, too large, or no whole number.
pub fn limits_of(profile: &Profile) -> Result<IoLimits, BadLimit> {
    let io = &profile.provisioning.io_connectivity;
    let custom = |name| match profile.custom.as_ref().and_then(|custom| custom.get(name)) {
        None => Ok(None),
        Some(value) => whole(value).map(Some).ok_or_else(|| value.to_string()),
    };
    Ok(IoLimits {
        volume: IoRate {
            iops: commands(IOPS, stated(io.max_iops))?,
            bytes_per_second: bytes(BANDWIDTH, stated(io.max_bws))?,
        },
        each_host: IoRate {
            iops: commands(IOPS_OF_HOST, custom(IOPS_OF_HOST))?,
            bytes_per_second: bytes(BANDWIDTH_OF_HOST, custom(BANDWIDTH_OF_HOST))?,
        },
    })
}

fn stated(number: i64) -> Result<Option<u64>, String> {
    u64::try_from(number).map(Some).map_err(|_| number.to_string())
}

/// A number, or text that is one: clients send custom properties in both forms.
fn whole(value: &Value) -> Option<u64> {
    match value {
        Value::Number(number) => number.as_u64(),
        Value::String(text) => text.trim().parse().ok(),
        Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => None,
    }
}

fn commands(
    field: &'static str,
    given: Result<Option<u64>, String>,
) -> Result<Option<NonZeroU64>, BadLimit> {
    limit(field, given, 1, "commands a second")
}

fn bytes(
    field: &'static str,
    given: Result<Option<u64>, String>,
) -> Result<Option<NonZeroU64>, BadLimit> {
    limit(field, given, MB, "MB/s")
}

fn limit(
    field: &'static str,
    given: Result<Option<u64>, String>,
    times: u64,
    unit: &'static str,
) -> Result<Option<NonZeroU64>, BadLimit> {
    // As much as OpenSDS's own numbers can say.
    let most = i64::MAX.unsigned_abs() / times;
    let bad = |text: &str| BadLimit { field, text: shortened(text), unit, most };
    let number = given.map_err(|text| bad(&text))?.unwrap_or(0);
    if number > most {
        return Err(bad(&number.to_string()));
    }
    Ok(NonZeroU64::new(number * times))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::fixtures::profile;

    fn of(io: Value, custom: Value) -> Result<IoLimits, String> {
        let mut profile = profile(custom);
        profile.provisioning.io_connectivity = serde_json::from_value(io).unwrap();
        limits_of(&profile).map_err(|bad| bad.to_string())
    }

    fn rate(iops: u64, bytes: u64) -> IoRate {
        IoRate { iops: NonZeroU64::new(iops), bytes_per_second: NonZeroU64::new(bytes) }
    }

    #[test]
    fn what_is_not_said_or_zero_limits_nothing() {
        assert_eq!(of(json!({}), json!(null)), Ok(IoLimits::NONE));
        assert_eq!(of(json!({"maxIOPS": 0, "minIOPS": 9}), json!({})), Ok(IoLimits::NONE));
        let zero = json!({"maxIOPSPerHost": 0, "maxBWSPerHost": "0"});
        assert_eq!(of(json!({}), zero), Ok(IoLimits::NONE));
    }

    #[test]
    fn of_the_volume_and_of_each_host() {
        let limits = of(
            json!({"maxIOPS": 500, "maxBWS": 600}),
            json!({"maxIOPSPerHost": " 200 ", "maxBWSPerHost": 50}),
        );
        let expected =
            IoLimits { volume: rate(500, 600_000_000), each_host: rate(200, 50_000_000) };
        assert_eq!(limits, Ok(expected));
        let largest = of(json!({"maxIOPS": i64::MAX, "maxBWS": 9_223_372_036_854i64}), json!({}));
        assert_eq!(largest.unwrap().volume.iops, NonZeroU64::new(i64::MAX.unsigned_abs()));
    }

    #[test]
    fn what_is_no_limit_is_named() {
        let iops = "provisioningProperties.ioConnectivity.maxIOPS is -1: it must be a whole number \
                    of commands a second between 0 and 9223372036854775807, where 0 means without a \
                    limit";
        assert_eq!(of(json!({"maxIOPS": -1}), json!({})), Err(iops.to_owned()));
        for (io, text) in
            [(json!({"maxBWS": -7}), "-7"), (json!({"maxBWS": i64::MAX}), "9223372036854775807")]
        {
            let said = of(io, json!({})).unwrap_err();
            assert!(said.starts_with(&format!("{BANDWIDTH} is {text}: it must be")), "{said}");
        }
        for bad in [
            json!(-1),
            json!(1.5),
            json!("many"),
            json!("-1"),
            json!("1.5"),
            json!(true),
            json!(null),
            json!([1]),
            json!({}),
            json!(1e30),
            json!("99999999999999999999"),
        ] {
            for field in [IOPS_OF_HOST, BANDWIDTH_OF_HOST] {
                let said = of(json!({}), json!({field: bad})).unwrap_err();
                assert!(said.starts_with(&format!("{field} is {bad}: ")), "{said}");
            }
        }
        let overflow = json!({BANDWIDTH_OF_HOST: 9_223_372_036_855u64});
        assert!(of(json!({}), overflow).is_err());
    }
}
