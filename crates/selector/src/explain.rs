//! Words for people: what each pool has to say to a request.
//!
//! Made only when somebody reads them: the choice itself makes no text. A refused create carries
//! them in its message, so every pool's every misfit is named, by the pool's own key and value.

use std::fmt;

use osds_model::{Capacity, Pool, PoolId};

use crate::rank;
use crate::rules::Rules;

/// More pools than these are only counted in a message.
const MOST_NAMED: usize = 20;

/// What one pool has to say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// The pool.
    pub pool: PoolId,
    /// Its name.
    pub name: String,
    /// What a new volume may take.
    pub free: Capacity,
    /// Everything that is wrong with it; empty when it fits.
    pub misfits: Vec<String>,
}

impl Verdict {
    /// Whether the pool fits.
    #[must_use]
    pub fn fits(&self) -> bool {
        self.misfits.is_empty()
    }
}

/// `<name>: fits, 9 GiB free` or `<name>: <everything that is wrong>`.
impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.fits() {
            write!(f, "{}: fits, {} free", self.name, self.free)
        } else {
            write!(f, "{}: {}", self.name, self.misfits.join(", "))
        }
    }
}

pub(crate) fn verdicts<'p>(
    pools: impl IntoIterator<Item = &'p Pool>,
    rules: &Rules<'_>,
) -> Vec<Verdict> {
    let mut pools: Vec<(bool, &Pool)> =
        pools.into_iter().map(|pool| (!rules.fit(pool), pool)).collect();
    pools.sort_by(|(a_misfit, a), (b_misfit, b)| {
        a_misfit.cmp(b_misfit).then_with(|| rank::before(a, b))
    });
    let verdict = |(_, pool): (bool, &Pool)| Verdict {
        pool: pool.id,
        name: pool.spec.name.clone(),
        free: pool.free(),
        misfits: rules.misfits(pool).map(|misfit| misfit.to_string()).collect(),
    };
    pools.into_iter().map(verdict).collect()
}

/// No pool fits.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct NoPool {
    /// The pool that had to be, when one was named.
    pub asked: Option<PoolId>,
    /// Why not, for each pool (for the named one only, when one was named).
    pub verdicts: Vec<Verdict>,
}

impl NoPool {
    pub(crate) fn new(asked: Option<PoolId>, pools: Vec<&Pool>, rules: &Rules<'_>) -> Self {
        let named = |pool: &&Pool| asked.is_none_or(|asked| asked == pool.id);
        Self { asked, verdicts: verdicts(pools.into_iter().filter(named), rules) }
    }
}

/// Begins with the original's words, which scripts look for.
impl fmt::Display for NoPool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("no available pool to meet user's requirement: ")?;
        if self.verdicts.is_empty() {
            return match self.asked {
                Some(pool) => write!(f, "there is no pool {pool}"),
                None => f.write_str("there is no pool at all"),
            };
        }
        for (index, verdict) in self.verdicts.iter().take(MOST_NAMED).enumerate() {
            write!(f, "{}{verdict}", if index == 0 { "" } else { "; " })?;
        }
        match self.verdicts.len().checked_sub(MOST_NAMED) {
            Some(more @ 1..) => write!(f, "; and {more} pools more"),
            Some(0) | None => Ok(()),
        }
    }
}
