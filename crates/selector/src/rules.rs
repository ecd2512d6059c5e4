//! When a pool fits: one small function per rule, read top to bottom.
//!
//! A rule answers with what is wrong as a value that borrows; words are made of it only when
//! somebody wants to read them.

use std::fmt;

use osds_model::{Capacity, Pool};

use crate::Ask;
use crate::capability::{Stated, stated};
use crate::grammar::{Filter, Malformed};
use crate::profile::{Demand, demands};

/// The rules of one request.
#[derive(Debug)]
pub(crate) struct Rules<'a> {
    ask: &'a Ask<'a>,
    demands: Vec<Result<Demand<'a>, Malformed>>,
}

/// Why a pool does not fit.
#[derive(Debug)]
pub(crate) enum Misfit<'a> {
    OtherPool,
    Unavailable,
    Zone { has: &'a str, wanted: &'a str },
    StorageType { has: &'a str, wanted: &'a str },
    NoRoom { free: Capacity, wanted: Capacity },
    NoMultiAttach,
    Unstated { key: &'a str, wanted: &'a Filter },
    Differs { key: &'a str, has: Stated<'a>, wanted: &'a Filter },
    Malformed(&'a Malformed),
}

impl<'a> Rules<'a> {
    pub(crate) fn new(ask: &'a Ask<'a>) -> Self {
        Self { ask, demands: demands(ask.profile) }
    }

    pub(crate) fn fit(&self, pool: &Pool) -> bool {
        self.misfits(pool).next().is_none()
    }

    /// Everything that is wrong with `pool`, the plainest first.
    pub(crate) fn misfits<'s>(&'s self, pool: &'s Pool) -> impl Iterator<Item = Misfit<'s>> {
        let plain = [asked_pool, available, zone, storage_type, room, multi_attach];
        plain
            .into_iter()
            .filter_map(move |rule| rule(pool, self.ask))
            .chain(self.demands.iter().filter_map(move |demand| met(pool, demand)))
    }
}

fn asked_pool<'s>(pool: &'s Pool, ask: &'s Ask<'_>) -> Option<Misfit<'s>> {
    ask.pool.is_some_and(|asked| asked != pool.id).then_some(Misfit::OtherPool)
}

fn available<'s>(pool: &'s Pool, _: &'s Ask<'_>) -> Option<Misfit<'s>> {
    (!pool.available).then_some(Misfit::Unavailable)
}

fn zone<'s>(pool: &'s Pool, ask: &'s Ask<'_>) -> Option<Misfit<'s>> {
    let (has, wanted) = (pool.spec.availability_zone.as_str(), ask.availability_zone);
    (!has.eq_ignore_ascii_case(wanted)).then_some(Misfit::Zone { has, wanted })
}

fn storage_type<'s>(pool: &'s Pool, ask: &'s Ask<'_>) -> Option<Misfit<'s>> {
    let (has, wanted) = (pool.spec.storage_type.as_str(), ask.profile.storage_type.as_str());
    (!has.eq_ignore_ascii_case(wanted)).then_some(Misfit::StorageType { has, wanted })
}

fn room<'s>(pool: &'s Pool, ask: &'s Ask<'_>) -> Option<Misfit<'s>> {
    let (free, wanted) = (pool.free(), ask.size);
    (free < wanted).then_some(Misfit::NoRoom { free, wanted })
}

/// Whatever the profile's filters say: a request body can ask for multi-attach, too.
fn multi_attach<'s>(pool: &'s Pool, ask: &'s Ask<'_>) -> Option<Misfit<'s>> {
    (ask.multi_attach && !pool.spec.multi_attach).then_some(Misfit::NoMultiAttach)
}

fn met<'s>(pool: &'s Pool, demand: &'s Result<Demand<'_>, Malformed>) -> Option<Misfit<'s>> {
    let Demand { key, filter } = match demand {
        Ok(demand) => demand,
        Err(malformed) => return Some(Misfit::Malformed(malformed)),
    };
    match stated(pool, key) {
        None => Some(Misfit::Unstated { key, wanted: filter }),
        Some(has) if filter.accepts(&has) => None,
        Some(has) => Some(Misfit::Differs { key, has, wanted: filter }),
    }
}

impl fmt::Display for Misfit<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::OtherPool => f.write_str("another pool was asked for"),
            Self::Unavailable => f.write_str("its dock does not report it"),
            Self::Zone { has, wanted } => {
                write!(f, "availabilityZone is {has:?}, wanted {wanted:?}")
            }
            Self::StorageType { has, wanted } => {
                write!(f, "storageType is {has:?}, wanted {wanted:?}")
            }
            Self::NoRoom { free, wanted } => write!(f, "{free} free, wanted {wanted}"),
            Self::NoMultiAttach => f.write_str("multiAttach is false, wanted true"),
            Self::Unstated { key, wanted } => write!(f, "has no {key}, wanted {wanted}"),
            Self::Differs { key, has, wanted } => write!(f, "{key} is {has}, wanted {wanted}"),
            Self::Malformed(malformed) => malformed.fmt(f),
        }
    }
}
