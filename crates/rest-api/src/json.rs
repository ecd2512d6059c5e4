//! JSON as the original reads and writes it.
//!
//! Reading: field names match in any case at every level, unknown fields are skipped, `null` is
//! the zero value, of two equal fields the last one counts, and what follows the first value is
//! not looked at. That cannot be said with serde attributes, so text becomes a [`Node`] first (it
//! keeps order and doubles) and types are read from that. Wire structs carry `#[serde(default)]`
//! and never `flatten`.
//!
//! Writing: compact, in struct order, with `<`, `>` and `&` escaped, byte for byte like the
//! original.

use std::borrow::Cow;
use std::fmt;
use std::io;

use serde::de::{
    self, DeserializeOwned, DeserializeSeed, Deserializer, IntoDeserializer, MapAccess, SeqAccess,
    Visitor,
};
use serde::{Deserialize, Serialize};
use serde_json::Number;
use serde_json::ser::Formatter;

/// The text is not JSON, or not JSON of the wanted shape.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct BadJson(pub(crate) String);

impl de::Error for BadJson {
    fn custom<T: fmt::Display>(message: T) -> Self {
        Self(message.to_string())
    }
}

/// Reads the first JSON value in `text` as a `T`.
///
/// # Errors
/// When it is not JSON, or a field has the wrong type.
pub fn read<T: DeserializeOwned>(text: &[u8]) -> Result<T, BadJson> {
    T::deserialize(&Node::parse(text)?)
}

/// Writes `value` as the original would.
///
/// # Panics
/// Never for the types of this crate: their keys are strings.
#[must_use]
pub fn write(value: &impl Serialize) -> Vec<u8> {
    let mut out = Vec::with_capacity(512);
    let mut serializer = serde_json::Serializer::with_formatter(&mut out, GoFormatter);
    value.serialize(&mut serializer).expect("wire types have string keys and a Vec takes all");
    out
}

/// Any JSON, with the order and the doubles of its text.
#[derive(Clone, Debug, PartialEq)]
pub enum Node {
    /// `null`.
    Null,
    /// `true` or `false`.
    Bool(bool),
    /// A number.
    Number(Number),
    /// A string.
    Text(String),
    /// An array.
    List(Vec<Node>),
    /// An object, doubled keys included.
    Object(Vec<(String, Node)>),
}

impl Node {
    /// Reads the first JSON value in `text`.
    ///
    /// # Errors
    /// When it is not JSON; in the words of Go's decoder where they are known.
    pub fn parse(text: &[u8]) -> Result<Self, BadJson> {
        // Go turns bytes that are not UTF-8 into U+FFFD.
        let text = String::from_utf8_lossy(text);
        let mut deserializer = serde_json::Deserializer::from_str(&text);
        Self::deserialize(&mut deserializer).map_err(|e| go_syntax_error(&text, &e))
    }

    /// The member that a field of this name is read from: the last one that is not `null`, or a
    /// `null` when there is no other.
    #[must_use]
    pub fn member(&self, name: &str) -> Option<&Self> {
        let Self::Object(members) = self else { return None };
        let mut found = None;
        for (key, node) in members {
            if key.eq_ignore_ascii_case(name) && (found.is_none() || *node != Self::Null) {
                found = Some(node);
            }
        }
        found
    }

    const fn go_type(&self) -> &'static str {
        match self {
            Self::Null => "null",
            Self::Bool(_) => "bool",
            Self::Number(_) => "number",
            Self::Text(_) => "string",
            Self::List(_) => "array",
            Self::Object(_) => "object",
        }
    }

    fn mismatch(&self, wanted: &str) -> BadJson {
        BadJson(format!("json: cannot unmarshal {} into Go value of type {wanted}", self.go_type()))
    }
}

fn go_syntax_error(text: &str, error: &serde_json::Error) -> BadJson {
    if error.is_eof() {
        let nothing = text.trim().is_empty();
        return BadJson(if nothing { "EOF" } else { "unexpected EOF" }.to_owned());
    }
    let said = error.to_string();
    let place = [
        ("expected value", "looking for beginning of value"),
        ("expected ident", "in literal"),
        ("expected `:`", "after object key"),
        ("expected `,` or `}`", "after object key:value pair"),
        ("expected `,` or `]`", "after array element"),
        ("key must be a string", "looking for beginning of object key string"),
        ("trailing comma", "looking for beginning of value"),
        ("control character", "in string literal"),
        ("invalid escape", "in string escape code"),
        ("invalid number", "in numeric literal"),
    ]
    .into_iter()
    .find_map(|(ours, go)| said.starts_with(ours).then_some(go));
    let line = text.lines().nth(error.line().saturating_sub(1)).unwrap_or_default();
    // serde_json counts the bytes up to and including the culprit.
    let culprit = line.as_bytes().get(error.column().saturating_sub(1)).copied();
    match (place, culprit) {
        (Some(place), Some(byte)) => {
            BadJson(format!("invalid character '{}' {place}", byte.escape_ascii()))
        }
        (Some(_), None) | (None, _) => BadJson(said),
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
        f.write_str("any JSON value")
    }
    fn visit_unit<E>(self) -> Result<Node, E> {
        Ok(Node::Null)
    }
    fn visit_bool<E>(self, value: bool) -> Result<Node, E> {
        Ok(Node::Bool(value))
    }
    fn visit_i64<E>(self, value: i64) -> Result<Node, E> {
        Ok(Node::Number(value.into()))
    }
    fn visit_u64<E>(self, value: u64) -> Result<Node, E> {
        Ok(Node::Number(value.into()))
    }
    fn visit_f64<E>(self, value: f64) -> Result<Node, E> {
        Ok(Number::from_f64(value).map_or(Node::Null, Node::Number))
    }
    fn visit_str<E>(self, value: &str) -> Result<Node, E> {
        Ok(Node::Text(value.to_owned()))
    }
    fn visit_string<E>(self, value: String) -> Result<Node, E> {
        Ok(Node::Text(value))
    }
    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Node, A::Error> {
        let mut list = Vec::new();
        while let Some(item) = items.next_element()? {
            list.push(item);
        }
        Ok(Node::List(list))
    }
    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Node, A::Error> {
        let mut members = Vec::new();
        while let Some(member) = map.next_entry()? {
            members.push(member);
        }
        Ok(Node::Object(members))
    }
}

/// A number as a whole one: Go has no `1.0` for an `int64`, but a client that writes it means 1.
fn whole(number: &Number) -> Option<i64> {
    /// Beyond this, an f64 no longer tells neighbouring integers apart.
    const EXACT: f64 = 9_007_199_254_740_992.0;
    number.as_i64().or_else(|| {
        let float = number.as_f64().filter(|f| f.fract() == 0.0 && f.abs() <= EXACT)?;
        Some(float as i64)
    })
}

macro_rules! read_integers {
    ($($method:ident: $name:literal),+ $(,)?) => {$(
        fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, BadJson> {
            match self {
                Node::Null => visitor.visit_u64(0),
                Node::Number(number) => match (number.as_u64(), whole(number)) {
                    (Some(value), _) => visitor.visit_u64(value),
                    (None, Some(value)) => visitor.visit_i64(value),
                    (None, None) => Err(BadJson(format!(
                        "json: cannot unmarshal number {number} into Go value of type {}", $name
                    ))),
                },
                other => Err(other.mismatch($name)),
            }
        }
    )+};
}

impl<'de> Deserializer<'de> for &'de Node {
    type Error = BadJson;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, BadJson> {
        match self {
            Node::Null => visitor.visit_unit(),
            Node::Bool(value) => visitor.visit_bool(*value),
            Node::Number(number) => match (number.as_u64(), number.as_i64(), number.as_f64()) {
                (Some(value), _, _) => visitor.visit_u64(value),
                (None, Some(value), _) => visitor.visit_i64(value),
                (None, None, Some(value)) => visitor.visit_f64(value),
                (None, None, None) => Err(BadJson(format!("number {number} is out of range"))),
            },
            Node::Text(text) => visitor.visit_borrowed_str(text),
            Node::List(items) => visitor.visit_seq(Items(items.iter())),
            Node::Object(members) => {
                visitor.visit_map(Members { rest: members.iter(), value: None })
            }
        }
    }

    fn deserialize_bool<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, BadJson> {
        match self {
            Node::Null => visitor.visit_bool(false),
            Node::Bool(value) => visitor.visit_bool(*value),
            other => Err(other.mismatch("bool")),
        }
    }

    read_integers! {
        deserialize_i8: "int8", deserialize_i16: "int16", deserialize_i32: "int32",
        deserialize_i64: "int64", deserialize_i128: "int128", deserialize_u8: "uint8",
        deserialize_u16: "uint16", deserialize_u32: "uint32", deserialize_u64: "uint64",
        deserialize_u128: "uint128",
    }

    fn deserialize_f32<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, BadJson> {
        self.deserialize_f64(visitor)
    }

    fn deserialize_f64<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, BadJson> {
        match self {
            Node::Null => visitor.visit_f64(0.0),
            Node::Number(number) => visitor.visit_f64(number.as_f64().unwrap_or_default()),
            other => Err(other.mismatch("float64")),
        }
    }

    fn deserialize_char<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, BadJson> {
        self.deserialize_str(visitor)
    }

    fn deserialize_str<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, BadJson> {
        match self {
            Node::Null => visitor.visit_borrowed_str(""),
            Node::Text(text) => visitor.visit_borrowed_str(text),
            other => Err(other.mismatch("string")),
        }
    }

    fn deserialize_string<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, BadJson> {
        self.deserialize_str(visitor)
    }

    fn deserialize_bytes<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, BadJson> {
        self.deserialize_str(visitor)
    }

    fn deserialize_byte_buf<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, BadJson> {
        self.deserialize_str(visitor)
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, BadJson> {
        match self {
            Node::Null => visitor.visit_none(),
            Node::Bool(_) | Node::Number(_) | Node::Text(_) | Node::List(_) | Node::Object(_) => {
                visitor.visit_some(self)
            }
        }
    }

    fn deserialize_unit<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, BadJson> {
        visitor.visit_unit()
    }

    fn deserialize_unit_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        visitor: V,
    ) -> Result<V::Value, BadJson> {
        visitor.visit_unit()
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        visitor: V,
    ) -> Result<V::Value, BadJson> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, BadJson> {
        match self {
            Node::Null => visitor.visit_seq(Items([].iter())),
            Node::List(items) => visitor.visit_seq(Items(items.iter())),
            other => Err(other.mismatch("slice")),
        }
    }

    fn deserialize_tuple<V: Visitor<'de>>(
        self,
        _len: usize,
        visitor: V,
    ) -> Result<V::Value, BadJson> {
        self.deserialize_seq(visitor)
    }

    fn deserialize_tuple_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        _len: usize,
        visitor: V,
    ) -> Result<V::Value, BadJson> {
        self.deserialize_seq(visitor)
    }

    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, BadJson> {
        match self {
            Node::Null => visitor.visit_map(Members { rest: [].iter(), value: None }),
            Node::Object(members) => {
                visitor.visit_map(Members { rest: members.iter(), value: None })
            }
            other => Err(other.mismatch("map")),
        }
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, BadJson> {
        match self {
            Node::Null | Node::Object(_) => {
                visitor.visit_map(Fields { node: self, rest: fields.iter(), value: None })
            }
            other => Err(other.mismatch("struct")),
        }
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _name: &'static str,
        _variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, BadJson> {
        match self {
            Node::Text(text) => visitor.visit_enum(text.as_str().into_deserializer()),
            other => Err(other.mismatch("string")),
        }
    }

    fn deserialize_identifier<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, BadJson> {
        self.deserialize_str(visitor)
    }

    fn deserialize_ignored_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, BadJson> {
        visitor.visit_unit()
    }
}

struct Items<'de>(std::slice::Iter<'de, Node>);

impl<'de> SeqAccess<'de> for Items<'de> {
    type Error = BadJson;
    fn next_element_seed<T: DeserializeSeed<'de>>(
        &mut self,
        seed: T,
    ) -> Result<Option<T::Value>, BadJson> {
        self.0.next().map(|node| seed.deserialize(node)).transpose()
    }
}

/// The members of an object that is read as a map: keys keep their case.
struct Members<'de> {
    rest: std::slice::Iter<'de, (String, Node)>,
    value: Option<&'de Node>,
}

impl<'de> MapAccess<'de> for Members<'de> {
    type Error = BadJson;
    fn next_key_seed<K: DeserializeSeed<'de>>(
        &mut self,
        seed: K,
    ) -> Result<Option<K::Value>, BadJson> {
        let Some((key, value)) = self.rest.next() else { return Ok(None) };
        self.value = Some(value);
        seed.deserialize(key.as_str().into_deserializer()).map(Some)
    }
    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, BadJson> {
        seed.deserialize(self.value.take().unwrap_or(&Node::Null))
    }
}

/// The members of an object that is read as a struct: asked for field by field, in any case.
struct Fields<'de> {
    node: &'de Node,
    rest: std::slice::Iter<'static, &'static str>,
    value: Option<(&'static str, &'de Node)>,
}

impl<'de> MapAccess<'de> for Fields<'de> {
    type Error = BadJson;
    fn next_key_seed<K: DeserializeSeed<'de>>(
        &mut self,
        seed: K,
    ) -> Result<Option<K::Value>, BadJson> {
        for field in self.rest.by_ref() {
            if let Some(node) = self.node.member(field) {
                self.value = Some((field, node));
                let key: de::value::StrDeserializer<'_, BadJson> = (*field).into_deserializer();
                return seed.deserialize(key).map(Some);
            }
        }
        Ok(None)
    }
    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, BadJson> {
        let (field, node) = self.value.take().unwrap_or(("", &Node::Null));
        seed.deserialize(node).map_err(|e| {
            // The innermost field is the one that is wrong; an outer one adds nothing.
            match e.0.strip_prefix("json: ").filter(|said| !said.contains(" Go struct field ")) {
                Some(said) => {
                    let said = said.replace("Go value", &format!("Go struct field {field}"));
                    BadJson(format!("json: {said}"))
                }
                None => e,
            }
        })
    }
}

/// Compact JSON with the escapes of Go's encoder.
struct GoFormatter;

impl Formatter for GoFormatter {
    fn write_string_fragment<W: ?Sized + io::Write>(
        &mut self,
        out: &mut W,
        fragment: &str,
    ) -> io::Result<()> {
        let bytes = fragment.as_bytes();
        let mut written = 0;
        for (at, byte) in bytes.iter().enumerate() {
            let (escape, len) = match byte {
                b'<' => ("\\u003c", 1),
                b'>' => ("\\u003e", 1),
                b'&' => ("\\u0026", 1),
                // Line and paragraph separators, U+2028 and U+2029.
                0xE2 if bytes[at..].starts_with(b"\xE2\x80\xA8") => ("\\u2028", 3),
                0xE2 if bytes[at..].starts_with(b"\xE2\x80\xA9") => ("\\u2029", 3),
                _ => continue,
            };
            out.write_all(&bytes[written..at])?;
            out.write_all(escape.as_bytes())?;
            written = at + len;
        }
        out.write_all(&bytes[written..])
    }
}

/// What stands for a value in tables of people who think in Go: indented by two, nothing escaped.
///
/// # Panics
/// Never for the types of this crate: their keys are strings.
#[must_use]
pub fn pretty(value: &impl Serialize) -> Cow<'static, str> {
    Cow::Owned(serde_json::to_string_pretty(value).expect("wire types have string keys"))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use serde_json::Value;

    use super::*;

    #[derive(Debug, Default, PartialEq, Deserialize)]
    #[serde(rename_all = "camelCase", default)]
    struct Inner {
        max_iops: i64,
    }

    #[derive(Debug, Default, PartialEq, Deserialize)]
    #[serde(rename_all = "camelCase", default)]
    struct Sample {
        data_storage: Inner,
        name: String,
        size: i64,
        flag: bool,
        tags: BTreeMap<String, String>,
        any: Option<Value>,
        list: Vec<Inner>,
    }

    #[test]
    fn names_match_in_any_case_at_every_level() {
        let sample: Sample =
            read(br#"{"DataStorage":{"MAXIops":3},"NAME":"a","List":[{"maxiops":4}]}"#).unwrap();
        assert_eq!(sample.data_storage.max_iops, 3);
        assert_eq!(sample.name, "a");
        assert_eq!(sample.list[0].max_iops, 4);
    }

    #[test]
    fn null_is_zero_unknown_is_skipped_and_garbage_after_the_value_too() {
        let sample: Sample = read(
            br#"{"name":null,"size":null,"flag":null,"tags":{"k":null},"list":null,"x":{},"any":null} garbage"#,
        )
        .unwrap();
        let tags = BTreeMap::from([("k".to_owned(), String::new())]);
        assert_eq!(sample, Sample { tags, ..Sample::default() });
        assert_eq!(read::<Sample>(b"null").unwrap(), Sample::default());
    }

    #[test]
    fn the_last_of_equal_fields_counts() {
        let sample: Sample =
            read(br#"{"name":"a","Name":"b","size":1,"size":2,"SIZE":null}"#).unwrap();
        assert_eq!((sample.name.as_str(), sample.size), ("b", 2));
    }

    #[test]
    fn map_keys_keep_their_case_and_values_their_kind() {
        let sample: Sample =
            read(br#"{"tags":{"K":"1","k":"2"},"any":{"N":[1,-2,1.5,true,null,"x"]},"size":3.0}"#)
                .unwrap();
        assert_eq!(sample.tags["K"], "1");
        assert_eq!(sample.any.unwrap().to_string(), r#"{"N":[1,-2,1.5,true,null,"x"]}"#);
        assert_eq!(sample.size, 3);
    }

    #[test]
    fn errors_speak_go() {
        let said = |text: &str| read::<Sample>(text.as_bytes()).unwrap_err().to_string();
        assert_eq!(said("garbage"), "invalid character 'g' looking for beginning of value");
        assert_eq!(said(""), "EOF");
        assert_eq!(said("{\"name\":"), "unexpected EOF");
        assert_eq!(said("{\"name\" 1}"), "invalid character '1' after object key");
        assert_eq!(said("{\"a\":1 2}"), "invalid character '2' after object key:value pair");
        assert_eq!(said("{1}"), "invalid character '1' looking for beginning of object key string");
        assert_eq!(
            said(r#"{"size":"1"}"#),
            "json: cannot unmarshal string into Go struct field size of type int64"
        );
        assert_eq!(
            said(r#"{"dataStorage":{"maxIops":1.5}}"#),
            "json: cannot unmarshal number 1.5 into Go struct field maxIops of type int64"
        );
        assert!(said(&"[".repeat(1000)).contains("recursion"));
    }

    #[test]
    fn writing_escapes_like_go() {
        let value = Value::String("<a> & \u{2028}\u{e9}\"".into());
        let wire = String::from_utf8(write(&value)).unwrap();
        assert_eq!(wire, "\"\\u003ca\\u003e \\u0026 \\u2028\u{e9}\\\"\"");
        assert_eq!(read::<Value>(wire.as_bytes()).unwrap(), value);
    }
}
