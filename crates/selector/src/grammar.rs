//! The filter grammar of OpenSDS profiles: one value of a custom property, read once, then true or
//! not of what a pool states.
//!
//! | text | is true of |
//! |---|---|
//! | `<is> true` | that flag (`1 t T TRUE true True` and their opposites) |
//! | `= 3` `== 3` `!= 3` `< 3` `<= 3` `> 3` `>= 3` | numbers, to within 1e-8 |
//! | `s== x` `s!= x` `s< x` `s<= x` `s> x` `s>= x` | text, in lower case |
//! | `<in> S[A]S` | text in which the regular expression is found |
//! | `<or> SAS <or> NL` | whatever equals one of these, as plain text would |
//! | anything else | plain: the same flag, the same number, or the same text in any case |
//! | JSON `true`, `3` | exactly that flag or number |
//! | JSON `["Read"]` | a list that has all of these |
//!
//! Beyond the original: `<`, `>` and `=` work, words are parted by any white space, plain text and
//! operands are compared whole although they have spaces, and plain text is true of a list that
//! has it. A filter that does not suit the kind of value is simply not true of it.

use std::fmt;

use regex::{Regex, RegexBuilder};
use serde_json::Value;

use crate::capability::Stated;

/// Longest filter text; also bounds what a regular expression costs.
const LONGEST: usize = 1024;
/// Bytes that a compiled regular expression may take.
const REGEX_SIZE: usize = 256 << 10;
/// Numbers this close are equal, as in the original.
const EPSILON: f64 = 1e-8;

/// A filter that cannot be understood.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("custom property {key:?} is {text}: {wrong}; write for example {example}")]
pub struct Malformed {
    /// The custom property.
    pub key: String,
    /// Its value, as JSON.
    pub text: String,
    /// What is wrong with it.
    pub wrong: String,
    /// What the right form looks like, as JSON.
    pub example: &'static str,
}

/// One understood filter.
#[derive(Clone, Debug)]
pub struct Filter {
    test: Test,
}

#[derive(Clone, Debug)]
enum Test {
    Is(bool),
    Number(Order, f64),
    Text(Order, String),
    Found(Regex),
    AnyOf(Vec<Plain>),
    Plain(Plain),
    ExactFlag(bool),
    ExactNumber(f64),
    HasAll(Vec<Value>),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Order {
    Equal,
    NotEqual,
    Less,
    AtMost,
    More,
    AtLeast,
}

/// Text whose meaning depends on what it is compared with, read in every way beforehand.
#[derive(Clone, Debug)]
struct Plain {
    text: String,
    flag: Option<bool>,
    number: Option<f64>,
}

impl Filter {
    /// Reads the value of the custom property `key`.
    ///
    /// # Errors
    /// It is not of the grammar.
    pub fn parse(key: &str, value: &Value) -> Result<Self, Malformed> {
        let test = match value {
            Value::String(text) => text_test(text.trim()),
            Value::Bool(flag) => Ok(Test::ExactFlag(*flag)),
            Value::Number(number) => {
                number.as_f64().map(Test::ExactNumber).ok_or(Wrong::new("too large a number", "3"))
            }
            Value::Array(items)
                if items.iter().all(|item| !item.is_array() && !item.is_object()) =>
            {
                Ok(Test::HasAll(items.clone()))
            }
            Value::Array(_) => Err(Wrong::new("a list may hold plain values only", r#"["Read"]"#)),
            Value::Null => Err(Wrong::new("null asks for nothing", r#""<is> true""#)),
            Value::Object(_) => Err(Wrong::new("an object is no filter", r#""<is> true""#)),
        };
        test.map(|test| Self { test }).map_err(|wrong| {
            let Wrong { what, example } = wrong;
            Malformed {
                key: key.to_owned(),
                text: shortened(&value.to_string()),
                wrong: what,
                example,
            }
        })
    }

    /// `<is> flag`.
    pub(crate) const fn is(flag: bool) -> Self {
        Self { test: Test::Is(flag) }
    }

    /// `>= number`.
    #[allow(clippy::cast_precision_loss)] // The wire has JSON numbers: doubles.
    pub(crate) const fn at_least(number: i64) -> Self {
        Self { test: Test::Number(Order::AtLeast, number as f64) }
    }

    /// `<= number`.
    #[allow(clippy::cast_precision_loss)]
    pub(crate) const fn at_most(number: i64) -> Self {
        Self { test: Test::Number(Order::AtMost, number as f64) }
    }

    /// Plain `text`.
    pub(crate) fn same(text: &str) -> Self {
        Self { test: Test::Plain(Plain::new(text)) }
    }

    /// Whether it is true of `stated`.
    #[must_use]
    pub fn accepts(&self, stated: &Stated<'_>) -> bool {
        match (&self.test, stated) {
            (Test::Is(wanted) | Test::ExactFlag(wanted), Stated::Flag(flag)) => wanted == flag,
            (Test::Number(order, wanted), Stated::Number(number)) => {
                order.holds(compare(*number, *wanted))
            }
            (Test::ExactNumber(wanted), Stated::Number(number)) => {
                compare(*number, *wanted).is_eq()
            }
            (Test::Text(order, wanted), Stated::Text(text)) => {
                order.holds(text.to_lowercase().as_str().cmp(wanted))
            }
            (Test::Found(regex), Stated::Text(text)) => regex.is_match(text),
            (Test::Found(regex), Stated::Words(words)) => words.iter().any(|w| regex.is_match(w)),
            (Test::Found(regex), Stated::Items(items)) => {
                items.iter().filter_map(Value::as_str).any(|item| regex.is_match(item))
            }
            (Test::AnyOf(choices), _) => choices.iter().any(|plain| plain.equals(stated)),
            (Test::Plain(plain), _) => plain.equals(stated),
            (Test::HasAll(wanted), Stated::Words(words)) => wanted.iter().all(|item| {
                item.as_str().is_some_and(|item| words.iter().any(|word| word == item))
            }),
            (Test::HasAll(wanted), Stated::Items(items)) => {
                wanted.iter().all(|item| items.iter().any(|one| same_value(one, item)))
            }
            // Each of these suits one kind of value only, and is not true of the others.
            (
                Test::Is(_)
                | Test::ExactFlag(_)
                | Test::Number(..)
                | Test::ExactNumber(_)
                | Test::Text(..)
                | Test::Found(_)
                | Test::HasAll(_),
                _,
            ) => false,
        }
    }
}

/// The filter as one would write it.
impl fmt::Display for Filter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.test {
            Test::Is(flag) => write!(f, "<is> {flag}"),
            Test::ExactFlag(flag) => flag.fmt(f),
            Test::Number(order, number) => write!(f, "{} {number}", order.as_str()),
            Test::ExactNumber(number) => number.fmt(f),
            Test::Text(order, text) => write!(f, "s{} {text}", order.as_str()),
            Test::Found(regex) => write!(f, "<in> {regex}"),
            Test::Plain(plain) => f.write_str(&plain.text),
            Test::AnyOf(choices) => {
                for (index, choice) in choices.iter().enumerate() {
                    write!(f, "{}<or> {}", if index == 0 { "" } else { " " }, choice.text)?;
                }
                Ok(())
            }
            Test::HasAll(items) => Value::Array(items.clone()).fmt(f),
        }
    }
}

impl Order {
    const ALL: [Self; 6] =
        [Self::Equal, Self::NotEqual, Self::Less, Self::AtMost, Self::More, Self::AtLeast];

    const fn as_str(self) -> &'static str {
        match self {
            Self::Equal => "==",
            Self::NotEqual => "!=",
            Self::Less => "<",
            Self::AtMost => "<=",
            Self::More => ">",
            Self::AtLeast => ">=",
        }
    }

    fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|order| order.as_str() == text)
    }

    const fn holds(self, ordering: std::cmp::Ordering) -> bool {
        match self {
            Self::Equal => ordering.is_eq(),
            Self::NotEqual => ordering.is_ne(),
            Self::Less => ordering.is_lt(),
            Self::AtMost => ordering.is_le(),
            Self::More => ordering.is_gt(),
            Self::AtLeast => ordering.is_ge(),
        }
    }
}

impl Plain {
    fn new(text: &str) -> Self {
        Self { text: text.to_owned(), flag: parse_flag(text), number: parse_number(text) }
    }

    fn equals(&self, stated: &Stated<'_>) -> bool {
        let text = |text: &str| same_text(&self.text, text);
        let flag = |flag: bool| self.flag == Some(flag);
        let number = |number| self.number.is_some_and(|own| compare(own, number).is_eq());
        match stated {
            Stated::Flag(one) => flag(*one),
            Stated::Number(one) => number(*one),
            Stated::Text(one) => text(one),
            Stated::Words(words) => words.iter().any(|word| text(word)),
            Stated::Items(items) => items.iter().any(|item| match item {
                Value::Bool(one) => flag(*one),
                Value::Number(one) => one.as_f64().is_some_and(number),
                Value::String(one) => text(one),
                Value::Null | Value::Array(_) | Value::Object(_) => false,
            }),
        }
    }
}

/// What is wrong, before it is known whose value it is.
struct Wrong {
    what: String,
    example: &'static str,
}

impl Wrong {
    fn new(what: impl Into<String>, example: &'static str) -> Self {
        Self { what: what.into(), example }
    }
}

fn text_test(text: &str) -> Result<Test, Wrong> {
    if text.len() > LONGEST {
        let what = format!("longer than {LONGEST} bytes");
        return Err(Wrong::new(what, r#""<or> SAS <or> NL""#));
    }
    let (first, rest) = match text.split_once(char::is_whitespace) {
        Some((first, rest)) => (first, rest.trim_start()),
        None => (text, ""),
    };
    match first {
        "" => Err(Wrong::new("empty text asks for nothing", r#""SSD""#)),
        "<is>" => parse_flag(rest).map(Test::Is).ok_or_else(|| {
            Wrong::new(format!("<is> takes true or false, not {rest:?}"), r#""<is> true""#)
        }),
        "<in>" => found(rest),
        "<or>" => any_of(rest),
        "=" => number_test(Order::Equal, first, rest),
        _ => {
            if let Some(order) = Order::parse(first) {
                number_test(order, first, rest)
            } else if let Some(order) = first.strip_prefix('s').and_then(Order::parse) {
                text_order(order, first, rest)
            } else if let Some(operator) = looks_like_operator(first) {
                Err(operator)
            } else {
                Ok(Test::Plain(Plain::new(text)))
            }
        }
    }
}

fn number_test(order: Order, operator: &str, rest: &str) -> Result<Test, Wrong> {
    parse_number(rest).map(|number| Test::Number(order, number)).ok_or_else(|| {
        Wrong::new(format!("{operator} takes one number, not {rest:?}"), r#"">= 100""#)
    })
}

fn text_order(order: Order, operator: &str, rest: &str) -> Result<Test, Wrong> {
    if rest.is_empty() {
        return Err(Wrong::new(format!("{operator} takes a text"), r#""s== ssd""#));
    }
    Ok(Test::Text(order, rest.to_lowercase()))
}

fn found(rest: &str) -> Result<Test, Wrong> {
    let wrong = |what: String| Wrong::new(what, r#""<in> S[AS]""#);
    if rest.is_empty() {
        return Err(wrong("<in> takes a regular expression".to_owned()));
    }
    match RegexBuilder::new(rest).size_limit(REGEX_SIZE).build() {
        Ok(regex) => Ok(Test::Found(regex)),
        // The parser draws a picture in several lines; its last line is the sentence.
        Err(error) => {
            let story = error.to_string();
            let last = story.lines().last().unwrap_or_default();
            let reason = last.trim_start_matches("error: ");
            Err(wrong(format!("{rest:?} is no regular expression that can be used: {reason}")))
        }
    }
}

fn any_of(rest: &str) -> Result<Test, Wrong> {
    let words: Vec<&str> = rest.split_whitespace().collect();
    let choices: Vec<String> =
        words.split(|word| *word == "<or>").map(|one| one.join(" ")).collect();
    if choices.iter().any(String::is_empty) {
        return Err(Wrong::new("each <or> takes a value", r#""<or> SAS <or> NL""#));
    }
    Ok(Test::AnyOf(choices.iter().map(|choice| Plain::new(choice)).collect()))
}

/// A first word that begins like an operator was meant as one.
fn looks_like_operator(first: &str) -> Option<Wrong> {
    let suspicious = first.starts_with(['<', '>', '='])
        || ["!=", "s==", "s!=", "s<", "s>"].iter().any(|start| first.starts_with(start));
    suspicious.then(|| {
        let what = format!("{first:?} is no operator (a space must follow the operator)");
        Wrong::new(what, r#"">= 100" or "<is> true""#)
    })
}

/// The spellings that Go's `strconv.ParseBool` knows.
pub(crate) fn parse_flag(text: &str) -> Option<bool> {
    match text {
        "1" | "t" | "T" | "TRUE" | "true" | "True" => Some(true),
        "0" | "f" | "F" | "FALSE" | "false" | "False" => Some(false),
        _ => None,
    }
}

fn parse_number(text: &str) -> Option<f64> {
    text.parse().ok().filter(|number: &f64| number.is_finite())
}

fn compare(a: f64, b: f64) -> std::cmp::Ordering {
    if (a - b).abs() < EPSILON { std::cmp::Ordering::Equal } else { a.total_cmp(&b) }
}

fn same_text(a: &str, b: &str) -> bool {
    a.eq_ignore_ascii_case(b) || (!a.is_ascii() && a.to_lowercase() == b.to_lowercase())
}

fn same_value(a: &Value, b: &Value) -> bool {
    match (a.as_f64(), b.as_f64()) {
        (Some(a), Some(b)) => compare(a, b).is_eq(),
        (Some(_), None) | (None, Some(_) | None) => a == b,
    }
}

/// Whoever wrote a long text knows how it goes on.
pub(crate) fn shortened(text: &str) -> String {
    match text.char_indices().nth(120) {
        Some((at, _)) => format!("{}...", &text[..at]),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests;
