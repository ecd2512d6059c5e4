//! What can be changed of a volume that is there: limits on its I/O, and whether many may have it.
//!
//! The keys are those of profiles. A key that is not said stays as it is; 0 lifts a limit. All of a
//! request is read before any of it is done, and of it multi-attach is done first: that is what can
//! be refused. Done again, it changes nothing.

use std::collections::HashMap;

use osds_rest_api::client::Method;
use osds_rest_api::request::MultiAttach;
use osds_rest_api::{IoLimitsView, VolumeView};

use super::publish::{WAIT, text};
use crate::api::Api;
use crate::status::{self, Status};

const MAX_IOPS: &str = "maxIOPS";
const MAX_BWS: &str = "maxBWS";
const MAX_IOPS_PER_HOST: &str = "maxIOPSPerHost";
const MAX_BWS_PER_HOST: &str = "maxBWSPerHost";
const MULTI_ATTACH: &str = "multiAttach";

/// What shall be changed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Changes {
    /// Whether many may have it.
    pub(super) multi_attach: Option<bool>,
    max_iops: Option<u64>,
    max_bws: Option<u64>,
    max_iops_per_host: Option<u64>,
    max_bws_per_host: Option<u64>,
}

impl Changes {
    /// Reads mutable parameters.
    ///
    /// # Errors
    /// INVALID_ARGUMENT for a key or a value that is not known.
    pub(super) fn of(parameters: &HashMap<String, String>) -> Result<Self, Status> {
        let mut changes = Self::default();
        for (key, value) in parameters {
            let limit = match key.as_str() {
                MULTI_ATTACH => {
                    let said = value.trim().to_ascii_lowercase().parse();
                    changes.multi_attach = Some(said.map_err(|_| {
                        status::invalid(format!("{key} is \"true\" or \"false\", not {value:?}"))
                    })?);
                    continue;
                }
                MAX_IOPS => &mut changes.max_iops,
                MAX_BWS => &mut changes.max_bws,
                MAX_IOPS_PER_HOST => &mut changes.max_iops_per_host,
                MAX_BWS_PER_HOST => &mut changes.max_bws_per_host,
                _ => {
                    return Err(status::invalid(format!(
                        "mutable parameter {key} is not known; there are {MAX_IOPS}, {MAX_BWS}, \
                         {MAX_IOPS_PER_HOST}, {MAX_BWS_PER_HOST} and {MULTI_ATTACH}"
                    )));
                }
            };
            let number = value.trim().parse::<u64>().ok().filter(|n| i64::try_from(*n).is_ok());
            *limit = Some(number.ok_or_else(|| {
                status::invalid(format!("{key} is a whole number, 0 for no limit, not {value:?}"))
            })?);
        }
        Ok(changes)
    }

    /// The limits of a volume that has these.
    fn limits(&self, has: IoLimitsView) -> IoLimitsView {
        IoLimitsView {
            max_iops: self.max_iops.unwrap_or(has.max_iops),
            max_bws: self.max_bws.unwrap_or(has.max_bws),
            max_iops_per_host: self.max_iops_per_host.unwrap_or(has.max_iops_per_host),
            max_bws_per_host: self.max_bws_per_host.unwrap_or(has.max_bws_per_host),
        }
    }

    /// What of it the volume does not have.
    pub(super) fn missing_on(&self, volume: &VolumeView<'_>) -> Option<String> {
        let has = volume.io_limits.unwrap_or_default();
        if self.multi_attach.is_some_and(|wanted| wanted != volume.multi_attach) {
            return Some(format!("its {MULTI_ATTACH} is {}", volume.multi_attach));
        }
        (self.limits(has) != has).then(|| "it has other limits on its I/O".to_owned())
    }
}

/// Changes the volume.
///
/// # Errors
/// As the control plane; ABORTED while its target is not held to new limits.
pub(super) async fn apply(
    api: &Api,
    volume: &VolumeView<'_>,
    changes: &Changes,
) -> Result<(), Status> {
    let (id, place) = (text(&volume.id), format!("block/volumes/{}", text(&volume.id)));
    if let Some(multi_attach) = changes.multi_attach.filter(|wanted| *wanted != volume.multi_attach)
    {
        let path = format!("{place}/multiAttach");
        let body = MultiAttach { multi_attach };
        api.call(move |client| client.request(Method::PUT, &path).body(&body).send().map(drop))
            .await?;
    }
    let has = volume.io_limits.unwrap_or_default();
    let limits = changes.limits(has);
    if limits != has {
        let path = format!("{place}/ioLimits");
        let now: VolumeView<'static> = api
            .call(move |client| {
                client.request(Method::PUT, &path).body(&limits).wait(WAIT).send()?.read()
            })
            .await?;
        if !now.status_reason.is_empty() {
            return Err(Status::aborted(format!(
                "volume {id} is {}: {}",
                now.status, now.status_reason
            )));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::status::Code;

    fn of(pairs: &[(&str, &str)]) -> Result<Changes, Code> {
        let pairs = pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
        Changes::of(&pairs.collect()).map_err(|status| status.code())
    }

    #[test]
    fn what_is_said_changes_and_the_rest_stays() {
        let has = IoLimitsView { max_iops: 5, max_bws_per_host: 7, ..IoLimitsView::default() };
        assert_eq!(of(&[]).unwrap().limits(has), has);
        let changes = of(&[("maxIOPS", "0"), ("maxBWS", " 9 "), ("multiAttach", "True")]).unwrap();
        let limits = IoLimitsView { max_iops: 0, max_bws: 9, ..has };
        assert_eq!((changes.limits(has), changes.multi_attach), (limits, Some(true)));
        for bad in [
            ("maxiops", "1"),
            ("maxIOPS", "many"),
            ("maxIOPS", "-1"),
            ("maxBWS", "18446744073709551615"),
            ("multiAttach", "yes"),
            ("profile", "gold"),
        ] {
            assert_eq!(of(&[bad]), Err(Code::InvalidArgument), "{bad:?}");
        }
    }
}
