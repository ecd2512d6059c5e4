//! One file per noun: its part of the grammar and what it does.

pub(crate) mod attachment;
pub(crate) mod csi;
pub(crate) mod dock;
pub(crate) mod fileshare;
pub(crate) mod group;
pub(crate) mod host;
pub(crate) mod pool;
pub(crate) mod profile;
pub(crate) mod replication;
pub(crate) mod snapshot;
pub(crate) mod version;
pub(crate) mod volume;

use clap::Args;
use osds_rest_api::url;

/// Which part of a list, in which order. Always sent, as the original does.
#[derive(Debug, Args)]
pub(crate) struct Page {
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

impl Page {
    /// The query: these filters, then the page.
    fn query<'a>(&'a self, filters: &[(&'a str, &'a Option<String>)]) -> Vec<(&'a str, &'a str)> {
        let mut pairs: Vec<_> =
            filters.iter().filter_map(|(key, value)| Some((*key, value.as_deref()?))).collect();
        pairs.extend([
            ("limit", self.limit.as_str()),
            ("offset", &self.offset),
            ("sortDir", &self.sort_dir),
            ("sortKey", &self.sort_key),
        ]);
        pairs
    }
}

/// The path of one thing.
fn path_of(place: &str, id: &str) -> String {
    format!("{place}/{}", url::encode(id))
}
