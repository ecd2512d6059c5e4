//! A YAML document in which everything knows its place.
//!
//! The text is read once into a tree of located nodes; a [`Section`] is one mapping of it. Whoever
//! takes a value out of a section says what it should be, so every mistake is found where its
//! meaning is known. What nobody asked for is left over and becomes warnings.
//!
//! Must stay true: no message shows the value of a secret, nor a piece of a line that has one.

use std::fmt;
use std::path::Path;

use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::{Number, Value};
use serde_saphyr::{DuplicateKeyPolicy, Location, Spanned};

use super::secret::is_secret;
use super::{ConfigError, Place, Warning};

/// One YAML document.
pub(super) struct Document<'s> {
    file: &'s Path,
    source: &'s str,
    root: Spanned<Node>,
}

/// One mapping of a document.
pub(super) struct Section<'d> {
    document: &'d Document<'d>,
    /// Dotted way to it from the top; empty at the top.
    path: String,
    location: Location,
    entries: &'d [(Spanned<String>, Spanned<Node>)],
    asked: Vec<&'static str>,
}

// No Debug: nodes hold secrets.
enum Node {
    Null,
    Flag(bool),
    Number(Number),
    Text(String),
    List(Vec<Spanned<Node>>),
    Map(Vec<(Spanned<String>, Spanned<Node>)>),
}

impl<'s> Document<'s> {
    pub(super) fn parse(file: &'s Path, source: &'s str) -> Result<Self, ConfigError> {
        let options = serde_saphyr::options! {
            duplicate_keys: DuplicateKeyPolicy::PassThrough,
            with_snippet: false,
        };
        match serde_saphyr::from_str_with_options(source, options) {
            Ok(root) => Ok(Self { file, source, root }),
            Err(error) => Err(syntax_error(file, source, &error)),
        }
    }

    /// The whole document, which must be a mapping.
    pub(super) fn top(&self) -> Result<Section<'_>, ConfigError> {
        let none = || ConfigError::Wrong {
            place: self.place(self.root.referenced),
            what: "the file holds no settings".to_owned(),
            remedy: "begin with a line pool: and describe the pools below it".to_owned(),
        };
        match &self.root.value {
            Node::Map(entries) => Section::new(self, String::new(), self.root.referenced, entries),
            Node::Null | Node::Flag(_) | Node::Number(_) | Node::Text(_) | Node::List(_) => {
                Err(none())
            }
        }
    }

    fn place(&self, location: Location) -> Place {
        let (line, column) = (location.line().max(1), location.column().max(1));
        Place { file: self.file.to_owned(), line, column }
    }

    /// A scalar as it was written, without quotes: `8.0` stays `8.0` where a text is meant.
    fn written(&self, node: &Spanned<Node>) -> Option<String> {
        match &node.value {
            Node::Text(text) => Some(text.clone()),
            Node::Flag(_) | Node::Number(_) => {
                let span = node.defined.span();
                let start = usize::try_from(span.byte_offset()?).ok()?;
                let end = start.checked_add(usize::try_from(span.byte_len()?).ok()?)?;
                self.source.get(start..end).map(str::to_owned)
            }
            Node::Null | Node::List(_) | Node::Map(_) => None,
        }
    }
}

impl<'d> Section<'d> {
    fn new(
        document: &'d Document<'d>,
        path: String,
        location: Location,
        entries: &'d [(Spanned<String>, Spanned<Node>)],
    ) -> Result<Self, ConfigError> {
        let section = Self { document, path, location, entries, asked: Vec::new() };
        for (index, (key, _)) in entries.iter().enumerate() {
            let Some((first, _)) = entries[..index].iter().find(|(one, _)| one.value == key.value)
            else {
                continue;
            };
            let name = section.path_of(&key.value);
            return Err(ConfigError::Wrong {
                place: document.place(key.referenced),
                what: format!("{name} is there twice, first in line {}", first.referenced.line()),
                remedy: "keep one of them, or give the other another name".to_owned(),
            });
        }
        Ok(section)
    }

    /// The names in this mapping, in order.
    pub(super) fn names(&self) -> impl Iterator<Item = &'d str> {
        self.entries.iter().map(|(key, _)| key.value.as_str())
    }

    /// A mapping inside this one, whatever its name; `None` when it is not there or empty.
    pub(super) fn inner(&self, name: &str) -> Result<Option<Section<'d>>, ConfigError> {
        let Some(node) = self.get(name) else { return Ok(None) };
        match &node.value {
            Node::Null => Ok(None),
            Node::Map(entries) => {
                Section::new(self.document, self.path_of(name), node.defined, entries).map(Some)
            }
            Node::Flag(_) | Node::Number(_) | Node::Text(_) | Node::List(_) => {
                let remedy = format!("write {name}: and its keys indented in the lines below");
                Err(self.wrong(name, "must hold further keys", &remedy))
            }
        }
    }

    pub(super) fn section(
        &mut self,
        name: &'static str,
    ) -> Result<Option<Section<'d>>, ConfigError> {
        self.asked.push(name);
        self.inner(name)
    }

    pub(super) fn text(&mut self, name: &'static str) -> Result<Option<String>, ConfigError> {
        let Some(node) = self.ask(name) else { return Ok(None) };
        match self.document.written(node) {
            Some(text) => Ok(Some(text)),
            None => Err(self.wrong(name, "must be a text", &format!("write {name}: some text"))),
        }
    }

    /// A text that must be there.
    pub(super) fn needed_text(&mut self, name: &'static str) -> Result<String, ConfigError> {
        let text = self.text(name)?;
        text.ok_or_else(|| self.wrong(name, "must be said", &format!("write {name}: its value")))
    }

    pub(super) fn flag(&mut self, name: &'static str) -> Result<Option<bool>, ConfigError> {
        let Some(node) = self.ask(name) else { return Ok(None) };
        let flag = match &node.value {
            Node::Flag(flag) => Some(*flag),
            Node::Text(text) => flag_of(text),
            Node::Null | Node::Number(_) | Node::List(_) | Node::Map(_) => None,
        };
        let remedy = format!("write {name}: true or {name}: false");
        flag.map(Some).ok_or_else(|| self.wrong(name, "must be true or false", &remedy))
    }

    /// A whole number of at least 0.
    pub(super) fn whole(&mut self, name: &'static str) -> Result<Option<i64>, ConfigError> {
        let Some(node) = self.ask(name) else { return Ok(None) };
        let number = match &node.value {
            Node::Number(number) => number.as_i64(),
            Node::Text(text) => text.trim().parse().ok(),
            Node::Null | Node::Flag(_) | Node::List(_) | Node::Map(_) => None,
        };
        match number {
            Some(number @ 0..) => Ok(Some(number)),
            Some(_) | None => Err(self.wrong(
                name,
                "must be a whole number of at least 0",
                &format!("write for example {name}: 1000, without a unit"),
            )),
        }
    }

    /// A list of texts; a single text is a list of one.
    pub(super) fn texts(&mut self, name: &'static str) -> Result<Vec<String>, ConfigError> {
        let Some(node) = self.ask(name) else { return Ok(Vec::new()) };
        let texts = match &node.value {
            Node::List(items) => items.iter().map(|item| self.document.written(item)).collect(),
            Node::Null | Node::Flag(_) | Node::Number(_) | Node::Text(_) | Node::Map(_) => {
                self.document.written(node).map(|text| vec![text])
            }
        };
        texts.ok_or_else(|| {
            self.wrong(name, "must be a list of texts", &format!("write {name}: [one, another]"))
        })
    }

    /// Whatever stands under `name`, as JSON.
    pub(super) fn free(&self, name: &str) -> Value {
        self.get(name).map_or(Value::Null, |node| json(&node.value))
    }

    /// An error at the value of `name`, which says what is there and what would be right.
    pub(super) fn wrong(&self, name: &str, must: &str, remedy: &str) -> ConfigError {
        let path = self.path_of(name);
        let (location, is) = match self.get(name) {
            None => (self.location, Some("is missing".to_owned())),
            Some(node) => {
                // Where a mapping or a list begins says less than the key it belongs to.
                let key = self.entries.iter().find(|(key, _)| key.value == name);
                let of_key = key.map_or(node.referenced, |(key, _)| key.referenced);
                match (self.document.written(node), &node.value) {
                    (Some(_), _) if is_secret(name) => (node.referenced, None),
                    (Some(text), _) => (node.referenced, Some(format!("is {text:?}"))),
                    (None, Node::Null) => (of_key, Some("is empty".to_owned())),
                    (None, Node::List(_)) => (of_key, Some("is a list".to_owned())),
                    (None, Node::Flag(_) | Node::Number(_) | Node::Text(_) | Node::Map(_)) => {
                        (of_key, None)
                    }
                }
            }
        };
        let what = match is {
            Some(is) => format!("{path} {is}, and it {must}"),
            None => format!("{path} {must}"),
        };
        ConfigError::Wrong { place: self.document.place(location), what, remedy: remedy.to_owned() }
    }

    /// Where the value of `name` is.
    pub(super) fn place_of(&self, name: &str) -> Place {
        let location = self.get(name).map_or(self.location, |node| node.referenced);
        self.document.place(location)
    }

    /// Warns of every key nobody asked for.
    pub(super) fn finish(self, warnings: &mut Vec<Warning>) {
        for (key, _) in self.entries {
            let name = key.value.as_str();
            if self.asked.contains(&name) {
                continue;
            }
            let path = self.path_of(name);
            let meant = self.asked.iter().find(|known| known.eq_ignore_ascii_case(name));
            let what = match meant {
                Some(known) => format!("{path} is not known and is ignored: did you mean {known}?"),
                None => format!("{path} is not known and is ignored"),
            };
            warnings.push(Warning { place: self.document.place(key.referenced), what });
        }
    }

    /// Where this section is.
    pub(super) fn file(&self) -> &'d Path {
        self.document.file
    }

    fn ask(&mut self, name: &'static str) -> Option<&'d Spanned<Node>> {
        self.asked.push(name);
        // An empty value is as good as none, as it is to Go.
        self.get(name).filter(|node| !matches!(node.value, Node::Null))
    }

    fn get(&self, name: &str) -> Option<&'d Spanned<Node>> {
        self.entries.iter().find(|(key, _)| key.value == name).map(|(_, node)| node)
    }

    fn path_of(&self, name: &str) -> String {
        if self.path.is_empty() { name.to_owned() } else { format!("{}.{name}", self.path) }
    }
}

/// The words that YAML 1.1 and Go's yaml.v2 take for a boolean; also when they are quoted.
fn flag_of(text: &str) -> Option<bool> {
    match text {
        "true" | "True" | "TRUE" | "yes" | "Yes" | "YES" | "on" | "On" | "ON" | "y" | "Y" => {
            Some(true)
        }
        "false" | "False" | "FALSE" | "no" | "No" | "NO" | "off" | "Off" | "OFF" | "n" | "N" => {
            Some(false)
        }
        _ => None,
    }
}

fn json(node: &Node) -> Value {
    match node {
        Node::Null => Value::Null,
        Node::Flag(flag) => Value::Bool(*flag),
        Node::Number(number) => Value::Number(number.clone()),
        Node::Text(text) => Value::String(text.clone()),
        Node::List(items) => items.iter().map(|item| json(&item.value)).collect(),
        Node::Map(entries) => {
            entries.iter().map(|(key, node)| (key.value.clone(), json(&node.value))).collect()
        }
    }
}

fn syntax_error(file: &Path, source: &str, error: &serde_saphyr::Error) -> ConfigError {
    let (line, column) = error.location().map_or((1, 1), |at| (at.line(), at.column()));
    let at = usize::try_from(line.saturating_sub(1)).unwrap_or_default();
    let text = source.lines().nth(at).unwrap_or_default();
    let (what, remedy) = if is_secret(text) {
        ("this line is no YAML".to_owned(), "put the value in quotation marks")
    } else {
        let story = error.without_snippet().to_string();
        let place = format!(" at line {line}, column {column}");
        let what = story.strip_suffix(&place).unwrap_or(&story).to_owned();
        (what, "compare the line with the examples in docs/examples")
    };
    ConfigError::Wrong {
        place: Place { file: file.to_owned(), line: line.max(1), column: column.max(1) },
        what,
        remedy: remedy.to_owned(),
    }
}

impl<'de> Deserialize<'de> for Node {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(NodeVisitor)
    }
}

struct NodeVisitor;

impl<'de> Visitor<'de> for NodeVisitor {
    type Value = Node;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any YAML")
    }

    fn visit_unit<E>(self) -> Result<Node, E> {
        Ok(Node::Null)
    }

    fn visit_bool<E>(self, flag: bool) -> Result<Node, E> {
        Ok(Node::Flag(flag))
    }

    fn visit_i64<E>(self, number: i64) -> Result<Node, E> {
        Ok(Node::Number(number.into()))
    }

    fn visit_u64<E>(self, number: u64) -> Result<Node, E> {
        Ok(Node::Number(number.into()))
    }

    fn visit_f64<E>(self, number: f64) -> Result<Node, E> {
        Ok(Number::from_f64(number).map_or_else(|| Node::Text(number.to_string()), Node::Number))
    }

    fn visit_str<E>(self, text: &str) -> Result<Node, E> {
        Ok(Node::Text(text.to_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Node, A::Error> {
        let mut list = Vec::new();
        while let Some(item) = items.next_element()? {
            list.push(item);
        }
        Ok(Node::List(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Node, A::Error> {
        let mut map = Vec::new();
        while let Some(entry) = entries.next_entry()? {
            map.push(entry);
        }
        Ok(Node::Map(map))
    }
}
