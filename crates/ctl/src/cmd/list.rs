//! What all `list` commands share: filters, which are a table for each noun, and the page.
//!
//! Filters are sent in the order of their table and then the page, always, as the original does.
//! One that was not given is not sent; one that the original takes and does not use is hidden.

use std::marker::PhantomData;

use clap::error::Error;
use clap::{Arg, ArgMatches, Args, Command, FromArgMatches};

/// Which part of a list, in which order.
#[derive(Debug, Args)]
struct Page {
    /// The number of entries displayed per page.
    #[arg(long, value_name = "number", default_value = "50")]
    limit: String,
    /// How many entries are left out before the page.
    #[arg(long, value_name = "number", default_value = "0")]
    offset: String,
    /// The sort direction: asc or desc.
    #[arg(long = "sortDir", value_name = "asc|desc", default_value = "desc")]
    sort_dir: String,
    /// The property to sort by, like id, name or status.
    #[arg(long = "sortKey", value_name = "property", default_value = "id")]
    sort_key: String,
}

/// Something that only some things of a list have.
#[derive(Debug)]
pub(crate) struct Filter {
    flag: &'static str,
    /// The server's name for it; empty where it is not sent.
    field: &'static str,
    help: &'static str,
}

/// `--flag` asks for the things that have this in `field`.
pub(crate) const fn by(flag: &'static str, field: &'static str, help: &'static str) -> Filter {
    Filter { flag, field, help }
}

/// `--flag` is accepted and not used, as in the original, and help does not speak of it.
pub(crate) const fn unused(flag: &'static str) -> Filter {
    Filter { flag, field: "", help: "" }
}

/// What a noun's lists are filtered by.
pub(crate) trait Filtered {
    /// In the order in which they are sent.
    const FILTERS: &'static [Filter];
}

/// The arguments of a `list` command.
#[derive(Debug)]
pub(crate) struct List<F> {
    page: Page,
    /// Fields, and what they shall have.
    wanted: Vec<(&'static str, String)>,
    of: PhantomData<F>,
}

impl<F> List<F> {
    /// The query: the filters that were given, then the page.
    pub(crate) fn query(&self) -> Vec<(&str, &str)> {
        let Page { limit, offset, sort_dir, sort_key } = &self.page;
        let wanted = self.wanted.iter().map(|(field, value)| (*field, value.as_str()));
        let page =
            [("limit", limit), ("offset", offset), ("sortDir", sort_dir), ("sortKey", sort_key)];
        wanted.chain(page.map(|(key, value)| (key, value.as_str()))).collect()
    }
}

impl<F: Filtered> Args for List<F> {
    fn augment_args(command: Command) -> Command {
        let arg = |filter: &Filter| {
            let arg = Arg::new(filter.flag).long(filter.flag).help(filter.help);
            arg.hide(filter.field.is_empty())
        };
        Page::augment_args(command).args(F::FILTERS.iter().map(arg))
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

impl<F: Filtered> FromArgMatches for List<F> {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, Error> {
        let sent = F::FILTERS.iter().filter(|filter| !filter.field.is_empty());
        let wanted = sent.filter_map(|Filter { flag, field, .. }| {
            Some((*field, matches.get_one::<String>(flag)?.clone()))
        });
        let page = Page::from_arg_matches(matches)?;
        Ok(Self { page, wanted: wanted.collect(), of: PhantomData })
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}
