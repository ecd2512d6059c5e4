//! Lists: filtered, sorted and cut as the original does it.
//!
//! Items come in the order of their ids, which is how most lists are shown (one way or the other),
//! or as the caller's index hands them: a page costs what is on it. Else all is looked at.
//!
//! Kept from the original: any query key that names a field filters, unknown ones are ignored,
//! values are compared exactly, several values of one key are alternatives; a sort key is looked up
//! by its name with a capital first letter, so that `NAME` passes for a key and sorts nothing.
//! Changed: filter keys match in any case; no `limit` means all (a first page hides objects); a
//! query has a bounded number of pairs, or one request could keep a processor busy for seconds.

use std::cmp::Ordering;

use crate::scalar::{Id, Naa, Time};
use crate::url;

/// Most pairs in one query. Each may be compared with each thing in the list.
const MOST_PAIRS: usize = 256;

/// One field of a listed thing, as a filter or a sort sees it.
#[derive(Clone, Copy, Debug)]
pub enum Cell<'a> {
    /// Text.
    Text(&'a str),
    /// An id.
    Id(&'a Id),
    /// A time.
    Time(&'a Time),
    /// The name of a volume's blocks.
    Naa(&'a Naa),
    /// A number.
    Number(u64),
    /// `true` or `false`.
    Flag(bool),
}

impl Cell<'_> {
    fn is(self, wanted: &str, any_case: bool) -> bool {
        match self {
            Self::Text(text) if any_case => text.to_lowercase() == wanted.to_lowercase(),
            Self::Id(id) if any_case => id.with(|text| text.eq_ignore_ascii_case(wanted)),
            Self::Text(text) => text == wanted,
            Self::Id(id) => id.with(|text| text == wanted),
            Self::Time(time) => time.with(|text| text == wanted),
            Self::Naa(naa) => naa.with(|text| text == wanted),
            Self::Number(number) => wanted.parse() == Ok(number) && !wanted.starts_with('+'),
            Self::Flag(flag) => wanted == if flag { "true" } else { "false" },
        }
    }

    /// Cells of one column are of one kind; of two kinds, none is the smaller.
    fn order(self, other: Cell<'_>) -> Ordering {
        match (self, other) {
            (Self::Text(a), Cell::Text(b)) => a.cmp(b),
            (Self::Id(Id::Uuid(a)), Cell::Id(Id::Uuid(b))) => a.cmp(b),
            (Self::Id(a), Cell::Id(b)) => a.with(|a| b.with(|b| a.cmp(b))),
            (Self::Time(Time::At(a)), Cell::Time(Time::At(b))) => a.cmp(b),
            (Self::Time(a), Cell::Time(b)) => a.with(|a| b.with(|b| a.cmp(b))),
            (Self::Number(a), Cell::Number(b)) => a.cmp(&b),
            (Self::Flag(a), Cell::Flag(b)) => a.cmp(&b),
            (Self::Naa(a), Cell::Naa(b)) => a.cmp(b),
            (
                Self::Text(_)
                | Self::Id(_)
                | Self::Time(_)
                | Self::Naa(_)
                | Self::Number(_)
                | Self::Flag(_),
                _,
            ) => Ordering::Equal,
        }
    }
}

/// A query parameter that has to look a certain way in some lists.
#[derive(Clone, Copy, Debug)]
pub enum Parameter {
    /// One of these words.
    Word {
        /// Its name.
        name: &'static str,
        /// The words.
        allowed: &'static [&'static str],
    },
    /// Text of some length.
    Length {
        /// Its name.
        name: &'static str,
        /// Shortest.
        min: usize,
        /// Longest.
        max: usize,
    },
}

/// Something that comes in lists.
pub trait Listed {
    /// Its fields under their Go names; the first is `Id`.
    const FIELDS: &'static [&'static str];
    /// What `sortKey` may say, in lower case.
    const SORT_KEYS: &'static [&'static str];
    /// What else is checked in its lists.
    const PARAMETERS: &'static [Parameter] = &[];
    /// Whether its lists are made by the original's older code: values are compared in any case,
    /// it is always sorted (by the id when nobody says how, and each way is the other one: `asc`
    /// descends), and a limit of 50, which is what its clients send unasked, is none.
    const OLDER: bool = false;

    /// The field at this place of [`Self::FIELDS`].
    fn cell(&self, at: usize) -> Cell<'_>;

    /// The place of the field with this Go name.
    #[must_use]
    fn field(go_name: &str) -> Option<usize> {
        Self::FIELDS.iter().position(|field| *field == go_name)
    }

    /// The place of the field that this `sortKey` sorts by, if it sorts at all.
    #[must_use]
    fn sort_field(key: &str) -> Option<usize> {
        let listed = Self::SORT_KEYS.iter().any(|known| known.eq_ignore_ascii_case(key));
        let mut title = key.to_owned();
        if let Some(first) = title.get_mut(..1) {
            first.make_ascii_uppercase();
        }
        match (Self::OLDER, listed) {
            (true, true) => Self::FIELDS.iter().position(|field| field.eq_ignore_ascii_case(key)),
            (true, false) => Some(0),
            (false, true) => Self::field(&title),
            (false, false) => None,
        }
    }
}

/// A query parameter is not as it has to be; always a 400.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct BadParameter(String);

impl BadParameter {
    pub(crate) fn new(name: &str, reason: &str) -> Self {
        Self(format!("Parameter '{name}' in query has an error: {reason}"))
    }
}

/// What a list request asks for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ListQuery {
    filters: Vec<(String, Vec<String>)>,
    sort_key: String,
    ascending: bool,
    offset: usize,
    limit: Option<usize>,
}

impl ListQuery {
    /// Reads the query string of a list of `V`.
    ///
    /// # Errors
    /// When a parameter is not as it has to be; in the original's words.
    pub fn parse<V: Listed>(query: &str) -> Result<Self, BadParameter> {
        let mut filters: Vec<(String, Vec<String>)> = Vec::new();
        for (count, (key, value)) in url::query_pairs(query).enumerate() {
            if count == MOST_PAIRS {
                return Err(BadParameter(format!(
                    "Parameters in query have an error: there are more than {MOST_PAIRS} of them"
                )));
            }
            match filters.iter_mut().find(|(known, _)| *known == key) {
                Some((_, values)) if values.iter().any(|known| *known == value) => {}
                Some((_, values)) => values.push(value.into_owned()),
                None => filters.push((key.into_owned(), vec![value.into_owned()])),
            }
        }
        // An empty value counts as not given.
        let first = |name: &str| {
            let (_, values) = filters.iter().find(|(key, _)| key == name)?;
            values.first().map(String::as_str).filter(|value| !value.is_empty())
        };
        let limit = whole("limit", first("limit"), 1)?.filter(|limit| !V::OLDER || *limit != 50);
        let offset = whole("offset", first("offset"), 0)?.unwrap_or_default();
        let sort_dir = first("sortDir").unwrap_or("desc");
        word("sortDir", sort_dir, &["asc", "desc"])?;
        for parameter in V::PARAMETERS {
            match parameter {
                Parameter::Word { name, allowed } => {
                    if let Some(given) = first(name) {
                        word(name, given, allowed)?;
                    }
                }
                Parameter::Length { name, min, max } => {
                    let len = first(name).map(|given| given.encode_utf16().count());
                    if len.is_some_and(|len| len < *min) {
                        return bad(name, &format!("Minimum string length is {min}"));
                    }
                    if len.is_some_and(|len| len > *max) {
                        return bad(name, &format!("Maximum string length is {max}"));
                    }
                }
            }
        }
        let sort_key = first("sortKey").unwrap_or_default().to_owned();
        let ascending = (sort_dir == "asc") != V::OLDER;
        Ok(Self { filters, sort_key, ascending, offset, limit })
    }

    /// The values asked for of the field with this Go name, when there is such a filter; a caller
    /// with an index by that field need not offer everything to [`Self::page`].
    #[must_use]
    pub fn wanted(&self, go_name: &str) -> Option<&[String]> {
        let (_, values) = self.filters.iter().find(|(key, _)| key.eq_ignore_ascii_case(go_name))?;
        Some(values)
    }

    /// The page that was asked for. `items` must come in ascending order of their ids; `view` makes
    /// one presentable.
    #[must_use]
    pub fn page<I: DoubleEndedIterator, V: Listed>(
        &self,
        items: I,
        mut view: impl FnMut(I::Item) -> V,
    ) -> Vec<V> {
        let limit = self.limit.unwrap_or(usize::MAX);
        let filters = self.filters_on::<V>();
        let passes = passing(&filters);
        match V::sort_field(&self.sort_key) {
            None => cut(items, filters.is_empty(), self.offset, limit, view, passes),
            Some(0) if self.ascending => {
                cut(items, filters.is_empty(), self.offset, limit, view, passes)
            }
            Some(0) => cut(items.rev(), filters.is_empty(), self.offset, limit, view, passes),
            Some(at) => self.sorted(items.map(&mut view).filter(passes), at, limit),
        }
    }

    /// Whether it is sorted by the field with this Go name, and then whether it ascends.
    #[must_use]
    pub fn sorted_by<V: Listed>(&self, go_name: &str) -> Option<bool> {
        let field = V::sort_field(&self.sort_key)?;
        (V::FIELDS[field] == go_name).then_some(self.ascending)
    }

    /// The page that was asked for of `items` that come in the order that was asked for.
    #[must_use]
    pub fn page_in_order<I: Iterator, V: Listed>(
        &self,
        items: I,
        view: impl FnMut(I::Item) -> V,
    ) -> Vec<V> {
        let limit = self.limit.unwrap_or(usize::MAX);
        let filters = self.filters_on::<V>();
        cut(items, filters.is_empty(), self.offset, limit, view, passing(&filters))
    }

    fn filters_on<V: Listed>(&self) -> Vec<(usize, &[String])> {
        self.filters
            .iter()
            .filter_map(|(key, values)| {
                let at = V::FIELDS.iter().position(|field| field.eq_ignore_ascii_case(key))?;
                Some((at, values.as_slice()))
            })
            .collect()
    }

    /// The page of what is found, sorted by the field at `at`. Holds little more than what comes
    /// before the end of the page: what is behind that when it is found is let go at once.
    fn sorted<V: Listed>(&self, found: impl Iterator<Item = V>, at: usize, limit: usize) -> Vec<V> {
        let end = self.offset.saturating_add(limit);
        let room = end.saturating_mul(2).max(256);
        let mut best: Vec<V> = Vec::new();
        // The first `end` of them are the best so far, in order, once there was no room for more.
        let mut cut = false;
        for item in found {
            // Of equals, those that were found before come first.
            if cut && self.way(best[end - 1].cell(at), item.cell(at)) != Ordering::Greater {
                continue;
            }
            best.push(item);
            if best.len() == room {
                best = self.in_order(best, at);
                best.truncate(end);
                cut = true;
            }
        }
        best = self.in_order(best, at);
        best.truncate(end);
        best.drain(..self.offset.min(best.len()));
        best
    }

    fn way(&self, a: Cell<'_>, b: Cell<'_>) -> Ordering {
        let way = a.order(b);
        if self.ascending { way } else { way.reverse() }
    }

    /// Sorts by one field; equals stay as they are. Views are large: their cells are compared, and
    /// each is moved once.
    fn in_order<V: Listed>(&self, items: Vec<V>, at: usize) -> Vec<V> {
        let cells: Vec<Cell<'_>> = items.iter().map(|item| item.cell(at)).collect();
        let mut order: Vec<usize> = (0..cells.len()).collect();
        order.sort_by(|a, b| self.way(cells[*a], cells[*b]));
        drop(cells);
        let mut items: Vec<Option<V>> = items.into_iter().map(Some).collect();
        order.into_iter().filter_map(|at| items[at].take()).collect()
    }
}

/// Whether an item has what each of the filters wants.
fn passing<'a, V: Listed>(filters: &'a [(usize, &'a [String])]) -> impl Fn(&V) -> bool + 'a {
    move |item| {
        filters.iter().all(|(at, values)| {
            let cell = item.cell(*at);
            values.iter().any(|wanted| cell.is(wanted, V::OLDER))
        })
    }
}

fn cut<S, V>(
    items: impl Iterator<Item = S>,
    all_pass: bool,
    offset: usize,
    limit: usize,
    view: impl FnMut(S) -> V,
    passes: impl Fn(&V) -> bool,
) -> Vec<V> {
    if all_pass {
        // What is skipped need not be made presentable.
        items.skip(offset).take(limit).map(view).collect()
    } else {
        items.map(view).filter(passes).skip(offset).take(limit).collect()
    }
}

fn bad<T>(name: &str, reason: &str) -> Result<T, BadParameter> {
    Err(BadParameter::new(name, reason))
}

fn word(name: &'static str, given: &str, allowed: &[&str]) -> Result<(), BadParameter> {
    if allowed.contains(&given) {
        return Ok(());
    }
    bad(name, "JSON value is not one of the allowed values")
}

fn whole(
    name: &'static str,
    given: Option<&str>,
    min: usize,
) -> Result<Option<usize>, BadParameter> {
    let Some(text) = given else { return Ok(None) };
    // The original reads any number here, then wants it whole: `1e2` is 100.
    let number = match text.parse::<f64>() {
        Ok(number) if !number.is_nan() => number,
        Ok(_) | Err(_) => {
            return bad(
                name,
                &format!(
                    "value {text}: an invalid interger: strconv.ParseFloat: parsing {text:?}: \
                     invalid syntax"
                ),
            );
        }
    };
    if number.fract() != 0.0 {
        return bad(name, "Value must be an integer");
    }
    if number < min as f64 {
        return bad(name, &format!("Number must be at least {min}"));
    }
    // Saturates: a page larger than memory is the whole list.
    Ok(Some(number as usize))
}

#[cfg(test)]
mod tests {
    use std::cell::Cell as Counter;

    use super::*;
    use crate::view::{AttachmentView, DockView, HostView, VolumeGroupView, VolumeView};

    fn volumes(count: u64) -> Vec<VolumeView<'static>> {
        (1..=count)
            .map(|n| VolumeView {
                id: Id::of(uuid::Uuid::from_u128(u128::from(n))),
                name: format!("v{}", n % 3).into(),
                status: if n % 2 == 0 { "available" } else { "inUse" }.into(),
                size: 10 - n,
                multi_attach: n == 2,
                ..VolumeView::default()
            })
            .collect()
    }

    fn numbers(query: &str) -> Vec<u64> {
        let all = volumes(6);
        let query = ListQuery::parse::<VolumeView<'_>>(query).unwrap();
        let page = query.page(all.iter(), Clone::clone);
        page.iter().map(|v| 10 - v.size).collect()
    }

    #[test]
    fn lists_of_the_older_kind() {
        let groups: Vec<VolumeGroupView<'_>> = (1..=60_u128)
            .map(|n| VolumeGroupView {
                id: Id::of(uuid::Uuid::from_u128(n)),
                name: format!("G{}", n % 2).into(),
                description: n.to_string().into(),
                ..VolumeGroupView::default()
            })
            .collect();
        let page = |query: &str| -> Vec<String> {
            let query = ListQuery::parse::<VolumeGroupView<'_>>(query).unwrap();
            let page = query.page(groups.iter(), Clone::clone);
            page.iter().map(|group| group.description.to_string()).collect()
        };
        assert_eq!(page("limit=50").len(), 60);
        assert_eq!(page("limit=50&offset=58"), ["59", "60"]);
        assert_eq!(page("limit=2"), ["1", "2"]);
        assert_eq!(page("limit=2&sortDir=desc&sortKey=id"), ["1", "2"]);
        assert_eq!(page("limit=2&sortDir=asc"), ["60", "59"]);
        assert_eq!(page("limit=2&sortDir=asc&sortKey=bogus"), ["60", "59"]);
        assert_eq!(page("limit=2&sortKey=NAME"), ["2", "4"]);
        assert_eq!(page("limit=2&Name=g1"), ["1", "3"]);
        assert_eq!(page("name=g2"), [""; 0]);
    }

    fn refusal<V: Listed>(query: &str) -> String {
        ListQuery::parse::<V>(query).unwrap_err().to_string()
    }

    #[test]
    fn order_without_and_with_keys() {
        assert_eq!(numbers(""), [1, 2, 3, 4, 5, 6]);
        assert_eq!(numbers("sortKey=id"), [6, 5, 4, 3, 2, 1]);
        assert_eq!(numbers("sortKey=id&sortDir=asc"), [1, 2, 3, 4, 5, 6]);
        assert_eq!(numbers("sortKey=size&sortDir=asc"), [6, 5, 4, 3, 2, 1]);
        assert_eq!(numbers("sortKey=name&sortDir=asc"), [3, 6, 1, 4, 2, 5]);
        assert_eq!(numbers("sortKey=name"), [2, 5, 1, 4, 3, 6]);
        // Passes for a key, names no field.
        assert_eq!(numbers("sortKey=NAME&sortDir=desc"), [1, 2, 3, 4, 5, 6]);
        assert_eq!(numbers("sortKey=createdAt"), [1, 2, 3, 4, 5, 6]);
    }

    #[test]
    fn pages() {
        assert_eq!(numbers("limit=2"), [1, 2]);
        assert_eq!(numbers("limit=2&offset=5"), [6]);
        assert_eq!(numbers("offset=9999"), [0_u64; 0]);
        assert_eq!(numbers("limit=2&offset=1&sortKey=id"), [5, 4]);
        assert_eq!(numbers("limit=2&offset=1&sortKey=name"), [5, 1]);
        assert_eq!(numbers("limit=2&offset=6&sortKey=name"), [0_u64; 0]);
        assert_eq!(numbers("limit=&offset="), [1, 2, 3, 4, 5, 6]);
        assert_eq!(numbers("limit=1e300"), [1, 2, 3, 4, 5, 6]);
    }

    #[test]
    fn filters() {
        assert_eq!(numbers("status=inUse"), [1, 3, 5]);
        assert_eq!(numbers("Status=inUse&limit=2&offset=1"), [3, 5]);
        assert_eq!(numbers("status=inUse&sortKey=id&limit=1"), [5]);
        assert_eq!(numbers("status=inuse"), [0_u64; 0]);
        assert_eq!(numbers("status=inUse&status=available"), [1, 2, 3, 4, 5, 6]);
        assert_eq!(numbers("status=inUse&NAME=v0"), [3]);
        assert_eq!(numbers("size=9"), [1]);
        assert_eq!(numbers("multiAttach=true"), [2]);
        assert_eq!(numbers("bogus=1"), [1, 2, 3, 4, 5, 6]);
        assert_eq!(numbers("id=00000000-0000-0000-0000-000000000004"), [4]);
        assert_eq!(numbers("DurableName=zz"), [0_u64; 0]);
    }

    #[test]
    fn a_page_costs_what_is_on_it() {
        let all = volumes(9);
        let seen = Counter::new(0);
        let count = |query: &str| {
            seen.set(0);
            let query = ListQuery::parse::<VolumeView<'_>>(query).unwrap();
            let page = query.page(all.iter(), |v| {
                seen.set(seen.get() + 1);
                v.clone()
            });
            (page.len(), seen.get())
        };
        assert_eq!(count("limit=2&offset=4&sortKey=id"), (2, 2));
        assert_eq!(count("limit=2&status=inUse"), (2, 3));
        assert_eq!(count("limit=2&sortKey=name"), (2, 9));
    }

    // Whatever the page and however the items come, it is a cut of the whole list sorted stably.
    #[test]
    fn a_sorted_page_is_a_cut_of_the_sorted_list() {
        let count = 2000;
        for (key, place) in [("name", 0), ("size", 1), ("status", 2)] {
            let all: Vec<VolumeView<'_>> = (0..count)
                .map(|n| {
                    let mixed = n * 7919 % 1009;
                    VolumeView {
                        id: Id::of(uuid::Uuid::from_u128(n)),
                        name: format!("v{}", mixed % 40).into(),
                        size: if n % 3 == 0 { n as u64 } else { mixed as u64 },
                        status: if mixed % 2 == 0 { "available" } else { "inUse" }.into(),
                        ..VolumeView::default()
                    }
                })
                .collect();
            for ascending in [true, false] {
                let mut whole = all.clone();
                whole.sort_by(|a, b| {
                    let way = [a.name.cmp(&b.name), a.size.cmp(&b.size), a.status.cmp(&b.status)];
                    if ascending { way[place] } else { way[place].reverse() }
                });
                for (offset, limit) in
                    [(0, 1), (0, 50), (130, 50), (1990, 50), (0, 5000), (3000, 5)]
                {
                    let dir = if ascending { "asc" } else { "desc" };
                    let query =
                        format!("sortKey={key}&sortDir={dir}&offset={offset}&limit={limit}");
                    let query = ListQuery::parse::<VolumeView<'_>>(&query).unwrap();
                    let page: Vec<_> = query.page(all.iter(), Clone::clone);
                    let cut: Vec<_> = whole.iter().skip(offset).take(limit).cloned().collect();
                    assert_eq!(page, cut, "{query:?}");
                }
            }
        }
    }

    #[test]
    fn a_query_is_only_so_long_and_says_nothing_twice() {
        let many: String = (0..257).map(|n| format!("a{n}=1&")).collect();
        assert_eq!(
            refusal::<VolumeView<'_>>(&many),
            "Parameters in query have an error: there are more than 256 of them"
        );
        let again = "hostId=h&".repeat(250) + "hostId=i";
        let query = ListQuery::parse::<AttachmentView<'_>>(&again).unwrap();
        assert_eq!(query.wanted("HostId").unwrap(), ["h", "i"]);
    }

    #[test]
    fn refusals_in_the_originals_words() {
        let volumes = refusal::<VolumeView<'_>>;
        let least = "Parameter 'limit' in query has an error: Number must be at least 1";
        assert_eq!(volumes("limit=0"), least);
        assert_eq!(volumes("limit=-1"), least);
        assert_eq!(
            volumes("limit=abc"),
            "Parameter 'limit' in query has an error: value abc: an invalid interger: \
             strconv.ParseFloat: parsing \"abc\": invalid syntax"
        );
        assert_eq!(
            volumes("sortDir=up"),
            "Parameter 'sortDir' in query has an error: JSON value is not one of the allowed values"
        );
        assert!(volumes("offset=-1").ends_with("at least 0"));
        assert!(volumes("limit=1.5").ends_with("Value must be an integer"));
        assert!(refusal::<DockView<'_>>("status=up").contains("'status'"));
        let long = format!("name={}", "x".repeat(256));
        assert!(refusal::<DockView<'_>>(&long).ends_with("Maximum string length is 255"));
        assert!(ListQuery::parse::<VolumeView<'_>>("status=up").is_ok());
    }

    #[test]
    fn fields_and_cells_are_in_step() {
        fn check<V: Listed>(item: &V) {
            for at in 0..V::FIELDS.len() {
                item.cell(at);
            }
            let beyond = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
                item.cell(V::FIELDS.len());
            }));
            assert!(beyond.is_err(), "more cells than names");
            assert_eq!(V::FIELDS[0], "Id");
        }
        check(&VolumeView::default());
        check(&AttachmentView::default());
        check(&DockView::default());
        check(&HostView::default());
        check(&crate::view::PoolView::default());
        check(&crate::view::ProfileView::default());
        check(&crate::view::SnapshotView::default());
        check(&crate::view::GroupSnapshotView::default());
    }

    #[test]
    fn hosts_know_two_keys() {
        assert_eq!(HostView::sort_field("hostName"), Some(5));
        assert_eq!(HostView::sort_field("HostName"), None);
        assert_eq!(HostView::sort_field(""), None);
        assert_eq!(AttachmentView::sort_field("size"), None);
        assert_eq!(AttachmentView::sort_field("volumeId"), Some(6));
        assert_eq!(AttachmentView::sort_field("volumeid"), None);
    }
}
