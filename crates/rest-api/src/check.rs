//! Request bodies, checked before they are read, in the words of the original's validator.
//!
//! A [`Shape`] says what the original's OpenAPI document says of a body; the first violation wins,
//! members in the order of the text, missing ones last. The validator's quirk is kept: a wrong
//! type is reported by the name of the type that was *given*.

use serde::de::DeserializeOwned;

use crate::json::{BadJson, Node};

/// The body is not as it has to be; always a 400.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadBody {
    /// There is none.
    #[error("Request body has an error: must have a value")]
    Missing,
    /// It is not JSON.
    #[error("Request body has an error: failed to decode request body: {0}")]
    Unreadable(BadJson),
    /// It breaks a rule of its shape.
    #[error("Request body has an error: doesn't match the schema: {0}")]
    Unfit(String),
    /// A field that no rule looks at has the wrong type.
    #[error("Request body has an error: {0}")]
    Mistyped(BadJson),
}

/// A request body.
pub trait Checked: DeserializeOwned {
    /// What it has to look like.
    const SHAPE: Shape;

    /// Rules that a shape cannot express; in the validator's words.
    ///
    /// # Errors
    /// When one is broken.
    fn check(_body: &Node) -> Result<(), String> {
        Ok(())
    }

    /// What a request without a body means, where that is allowed.
    #[must_use]
    fn without_body() -> Option<Self> {
        None
    }
}

/// Reads and checks a request body.
///
/// # Errors
/// When it is not as it has to be; the text is the answer to the client.
pub fn decode<T: Checked>(body: &[u8]) -> Result<T, BadBody> {
    if body.is_empty() {
        return T::without_body().ok_or(BadBody::Missing);
    }
    let node = Node::parse(body).map_err(BadBody::Unreadable)?;
    Rule::Object(&T::SHAPE).check(&node).map_err(|broken| BadBody::Unfit(broken.to_text()))?;
    T::check(&node).map_err(BadBody::Unfit)?;
    T::deserialize(&node).map_err(BadBody::Mistyped)
}

/// What an object has to look like. Members that are not listed may be anything.
#[derive(Clone, Copy, Debug)]
pub struct Shape {
    /// Members that have to be there, in the order in which their absence is reported.
    pub required: &'static [&'static str],
    /// Members by name. A name with a capital first letter matches exactly (the original's
    /// document misspells some), others in any case.
    pub members: &'static [(&'static str, Rule)],
}

/// What a value has to look like.
#[derive(Clone, Copy, Debug)]
pub enum Rule {
    /// A string.
    Text,
    /// A string of so many UTF-16 units.
    Length(usize, usize),
    /// A string of so many UTF-16 units that passes a test; the pattern is for the message.
    Pattern(usize, usize, fn(&str) -> bool, &'static str),
    /// One of these strings.
    Word(&'static [&'static str]),
    /// A whole number.
    Integer,
    /// A whole number in a range.
    Range(i64, i64),
    /// `true` or `false`.
    Flag,
    /// An array whose elements look so.
    List(&'static Rule),
    /// `null`, or an array of not too many different elements that look so.
    NullableSet(&'static Rule),
    /// An object.
    Object(&'static Shape),
}

/// Most elements of a set. Ours: without an end, looking for doubles takes half a minute.
const MOST_ITEMS: usize = 256;

/// A broken rule and where.
struct Broken {
    path: Vec<String>,
    reason: String,
}

impl Broken {
    fn because(reason: impl Into<String>) -> Self {
        Self { path: Vec::new(), reason: reason.into() }
    }

    fn under(mut self, step: &impl ToString) -> Self {
        self.path.insert(0, step.to_string());
        self
    }

    fn to_text(&self) -> String {
        if self.path.is_empty() {
            return self.reason.clone();
        }
        format!("Error at \"/{}\":{}", self.path.join("/"), self.reason)
    }
}

impl Rule {
    fn check(&self, node: &Node) -> Result<(), Broken> {
        if *node == Node::Null {
            return match self {
                Self::NullableSet(_) => Ok(()),
                Self::Text
                | Self::Length(..)
                | Self::Pattern(..)
                | Self::Word(_)
                | Self::Integer
                | Self::Range(..)
                | Self::Flag
                | Self::List(_)
                | Self::Object(_) => Err(Broken::because("Value is not nullable")),
            };
        }
        match (self, node) {
            (Self::Text, Node::Text(_)) | (Self::Flag, Node::Bool(_)) => Ok(()),
            (Self::Length(min, max), Node::Text(text)) => length(text, *min, *max),
            (Self::Pattern(min, max, fits, pattern), Node::Text(text)) => {
                length(text, *min, *max)?;
                if fits(text) {
                    return Ok(());
                }
                Err(Broken::because(format!(
                    "JSON string doesn't match the regular expression '{pattern}'"
                )))
            }
            // The list of words is looked at before the type.
            (Self::Word(words), _) => match node {
                Node::Text(text) if words.contains(&text.as_str()) => Ok(()),
                _ => Err(Broken::because("JSON value is not one of the allowed values")),
            },
            (Self::Integer, Node::Number(number)) => integer(number.as_f64(), i64::MIN, i64::MAX),
            (Self::Range(min, max), Node::Number(number)) => integer(number.as_f64(), *min, *max),
            (Self::List(rule), Node::List(items)) => each(items, rule),
            (Self::NullableSet(rule), Node::List(items)) => {
                if items.len() > MOST_ITEMS {
                    return Err(Broken::because(format!(
                        "Maximum number of items is {MOST_ITEMS}"
                    )));
                }
                let doubled = items.iter().enumerate().any(|(at, item)| items[..at].contains(item));
                if doubled {
                    return Err(Broken::because("Duplicate items found"));
                }
                each(items, rule)
            }
            (Self::Object(shape), Node::Object(_)) => shape.check(node),
            (
                Self::Text
                | Self::Length(..)
                | Self::Pattern(..)
                | Self::Integer
                | Self::Range(..)
                | Self::Flag
                | Self::List(_)
                | Self::NullableSet(_)
                | Self::Object(_),
                given,
            ) => Err(Broken::because(format!(
                "Field must be set to {} or not be present",
                openapi_type(given)
            ))),
        }
    }
}

impl Shape {
    fn check(&self, object: &Node) -> Result<(), Broken> {
        let Node::Object(members) = object else { return Ok(()) };
        for (key, value) in members {
            let rule = self.members.iter().find(|(name, _)| {
                if name.starts_with(|c: char| c.is_ascii_uppercase()) {
                    name == key
                } else {
                    name.eq_ignore_ascii_case(key)
                }
            });
            if let Some((name, rule)) = rule {
                rule.check(value).map_err(|broken| broken.under(name))?;
            }
        }
        for name in self.required {
            if object.member(name).is_none() {
                return Err(Broken::because(missing(name)));
            }
        }
        Ok(())
    }
}

/// What is said of a member that is not there.
pub(crate) fn missing(name: &str) -> String {
    format!("Property '{name}' is missing")
}

fn each(items: &[Node], rule: &Rule) -> Result<(), Broken> {
    for (at, item) in items.iter().enumerate() {
        rule.check(item).map_err(|broken| broken.under(&at))?;
    }
    Ok(())
}

fn length(text: &str, min: usize, max: usize) -> Result<(), Broken> {
    let len = text.encode_utf16().count();
    if len < min {
        return Err(Broken::because(format!("Minimum string length is {min}")));
    }
    if len > max {
        return Err(Broken::because(format!("Maximum string length is {max}")));
    }
    Ok(())
}

fn integer(number: Option<f64>, min: i64, max: i64) -> Result<(), Broken> {
    let number = number.unwrap_or_default();
    if number.fract() != 0.0 {
        return Err(Broken::because("Value must be an integer"));
    }
    if number < min as f64 {
        return Err(Broken::because(format!("Number must be at least {min}")));
    }
    if number > max as f64 {
        return Err(Broken::because(format!("Number must be most {max}")));
    }
    Ok(())
}

const fn openapi_type(node: &Node) -> &'static str {
    match node {
        Node::Null => "null",
        Node::Bool(_) => "boolean",
        Node::Number(_) => "number, integer",
        Node::Text(_) => "string",
        Node::List(_) => "array",
        Node::Object(_) => "object",
    }
}
