//! Nouns of the original that osds has none of: replications and what belongs to file shares.
//!
//! The commands exist, as scripts and fingers know them, and say what the server says; a server that
//! has such things (the original) gets them shown in its own tables. So nothing is known of them
//! here but the names of their fields, and how each is printed.

use std::marker::PhantomData;

use osds_rest_api::json;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::{Map, Value};

use crate::properties::Properties;
use crate::table::Property;

/// How a field is printed.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Field {
    /// As it is; nothing when it is not there.
    Text,
    /// As it is; 0 when it is not there.
    Number,
    /// As `[a b]`.
    List,
    /// As JSON.
    Nested,
}

/// A noun of the original.
pub(crate) trait Noun {
    /// Its fields in the order of the original's struct, by their Go names.
    const FIELDS: &'static [(&'static str, Field)];
}

/// One of them, as the server said it.
pub(crate) struct Foreign<N> {
    members: Map<String, Value>,
    noun: PhantomData<N>,
}

impl<N> Serialize for Foreign<N> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.members.serialize(serializer)
    }
}

impl<'de, N> Deserialize<'de> for Foreign<N> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(Self { members: Map::deserialize(deserializer)?, noun: PhantomData })
    }
}

impl<N: Noun> Properties for Foreign<N> {
    fn properties(&self) -> Vec<Property> {
        let print = |(name, field): &(&'static str, Field)| {
            // One of the original's answers has the Go names.
            let member = self.members.iter().find(|(key, _)| key.eq_ignore_ascii_case(name));
            let value = member.map_or(&Value::Null, |(_, value)| value);
            (*name, printed(value, *field))
        };
        N::FIELDS.iter().map(print).collect()
    }
}

fn printed(value: &Value, field: Field) -> String {
    match (field, value) {
        (Field::Nested, _) => format!("{}\n", json::pretty(value)),
        (Field::List, Value::Array(items)) => {
            let items: Vec<_> = items.iter().map(plain).collect();
            format!("[{}]", items.join(" "))
        }
        (Field::List, Value::Null) => "[]".to_owned(),
        (Field::Number, Value::Null) => "0".to_owned(),
        (Field::Text, Value::Null) => String::new(),
        (Field::List | Field::Number | Field::Text, _) => plain(value),
    }
}

fn plain(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_) => {
            value.to_string()
        }
    }
}
