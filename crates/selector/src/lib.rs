//! Which pool a new volume goes to, and why not the others, as pure functions.
//!
//! A request ([`Ask`]) is a list of demands; a pool fits when it meets every one. What a profile
//! demands is written in OpenSDS's filter grammar ([`Filter`]) over the names a pool has on the
//! wire ([`capability`]). Among the pools that fit, the one with most free space is taken.
//!
//! Must stay true: one pool's oddity never decides about another pool; a filter that cannot be
//! understood is refused when its profile is written ([`check_profile`]), not when a volume is
//! made; and a request for multi-attach never ends on a pool without it, whoever asked.

pub mod capability;
pub mod explain;
pub mod grammar;
mod limits;
mod profile;
mod rank;
mod rules;

use osds_model::{Capacity, Pool, PoolId, Profile};

pub use explain::{NoPool, Verdict};
pub use grammar::{Filter, Malformed};
pub use limits::{BadLimit, limits_of};
pub use profile::{check_profile, max_attachments_of, multi_attach_of};

/// What a new volume needs.
#[derive(Clone, Copy, Debug)]
pub struct Ask<'a> {
    /// How large it shall be.
    pub size: Capacity,
    /// Where hosts will be.
    pub availability_zone: &'a str,
    /// Whether several hosts shall have it: from the request's body or from the profile
    /// ([`multi_attach_of`]).
    pub multi_attach: bool,
    /// The pool it must be, when the request (or its snapshot) says so.
    pub pool: Option<PoolId>,
    /// What else is asked.
    pub profile: &'a Profile,
}

/// The best pool for `ask`.
///
/// # Errors
/// No pool fits; the error says why not, for each.
pub fn choose<'p>(
    pools: impl IntoIterator<Item = &'p Pool>,
    ask: &Ask<'_>,
) -> Result<&'p Pool, NoPool> {
    let rules = rules::Rules::new(ask);
    let mut best: Option<&'p Pool> = None;
    let mut others = Vec::new();
    for pool in pools {
        if !rules.fit(pool) {
            others.push(pool);
        } else if best.is_none_or(|best| rank::before(pool, best).is_lt()) {
            best = Some(pool);
        }
    }
    best.ok_or_else(|| NoPool::new(ask.pool, others, &rules))
}

/// What each pool has to say to `ask`: those that fit first, best first; then the others.
pub fn explain<'p>(pools: impl IntoIterator<Item = &'p Pool>, ask: &Ask<'_>) -> Vec<Verdict> {
    explain::verdicts(pools, &rules::Rules::new(ask))
}

#[cfg(test)]
mod fixtures;
#[cfg(test)]
mod tests;
