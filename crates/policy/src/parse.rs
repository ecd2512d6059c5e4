//! Text to checks.
//!
//! `or` binds loosest, then `and`, then `not`; the words are known in any case, parentheses group.
//! A check is `kind:match` without blanks. The older form, a list of lists, is an "or" of "and"s.
//!
//! Must stay true: what oslo.policy would decide by means that we do not have is refused. A check
//! that is never asked would turn into "always" behind a `not`.

use serde_json::Value;

use crate::PolicyError;
use crate::check::{Check, Term};

/// Parentheses and `not`s within each other. Real rules have three.
const MAX_DEPTH: usize = 64;

/// One rule of a file.
pub fn rule(name: &str, value: &Value) -> Result<Check, PolicyError> {
    let malformed = |problem| PolicyError::Malformed { rule: name.to_owned(), problem };
    let neither = || PolicyError::NotACheck(name.to_owned());
    match value {
        Value::String(text) => expression(text).map_err(malformed),
        Value::Array(list) => {
            if list.is_empty() {
                return Ok(Check::Always);
            }
            let mut any = Vec::new();
            for item in list {
                let mut all = Vec::new();
                let texts = match item {
                    Value::String(_) => std::slice::from_ref(item),
                    other => other.as_array().ok_or_else(neither)?,
                };
                for text in texts {
                    let text = text.as_str().ok_or_else(neither)?;
                    all.push(single(text).map_err(malformed)?);
                }
                if !all.is_empty() {
                    any.push(Check::All(all));
                }
            }
            // Nothing but empty lists: there is no way to fulfil it.
            Ok(if any.is_empty() { Check::Never } else { Check::Any(any) })
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::Object(_) => Err(neither()),
    }
}

/// One expression. The empty one always holds.
pub fn expression(text: &str) -> Result<Check, String> {
    let tokens = tokens(text);
    if tokens.is_empty() {
        return Ok(Check::Always);
    }
    let mut parser = Parser { tokens: &tokens, depth: 0 };
    let check = parser.any()?;
    match parser.tokens.first() {
        None => Ok(check),
        Some(token) => Err(format!("{} is one too many", token.name())),
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Token<'a> {
    Open,
    Close,
    And,
    Or,
    Not,
    Check(&'a str),
}

impl Token<'_> {
    fn name(self) -> String {
        match self {
            Self::Open => "\"(\"".to_owned(),
            Self::Close => "\")\"".to_owned(),
            Self::And => "\"and\"".to_owned(),
            Self::Or => "\"or\"".to_owned(),
            Self::Not => "\"not\"".to_owned(),
            Self::Check(text) => format!("\"{text}\""),
        }
    }
}

/// Words at blanks; parentheses stand before and behind words, those of `%(name)s` belong to it.
fn tokens(text: &str) -> Vec<Token<'_>> {
    let mut tokens = Vec::new();
    for word in text.split_whitespace() {
        let inner = word.trim_start_matches('(');
        tokens.extend(std::iter::repeat_n(Token::Open, word.len() - inner.len()));
        let core = inner.trim_end_matches(')');
        match core.to_ascii_lowercase().as_str() {
            "" => {}
            "and" => tokens.push(Token::And),
            "or" => tokens.push(Token::Or),
            "not" => tokens.push(Token::Not),
            _ => tokens.push(Token::Check(core)),
        }
        tokens.extend(std::iter::repeat_n(Token::Close, inner.len() - core.len()));
    }
    tokens
}

struct Parser<'a> {
    tokens: &'a [Token<'a>],
    depth: usize,
}

impl Parser<'_> {
    fn take(&mut self, token: Token<'_>) -> bool {
        let is_next = self.tokens.first() == Some(&token);
        if is_next {
            self.tokens = &self.tokens[1..];
        }
        is_next
    }

    fn any(&mut self) -> Result<Check, String> {
        let mut checks = vec![self.all()?];
        while self.take(Token::Or) {
            checks.push(self.all()?);
        }
        Ok(one_or(checks, Check::Any))
    }

    fn all(&mut self) -> Result<Check, String> {
        let mut checks = vec![self.one()?];
        while self.take(Token::And) {
            checks.push(self.one()?);
        }
        Ok(one_or(checks, Check::All))
    }

    fn one(&mut self) -> Result<Check, String> {
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            return Err(format!("nested deeper than {MAX_DEPTH}"));
        }
        let check = if self.take(Token::Not) {
            Check::Not(Box::new(self.one()?))
        } else if self.take(Token::Open) {
            let check = self.any()?;
            if !self.take(Token::Close) {
                return Err("a \")\" is missing".to_owned());
            }
            check
        } else {
            match self.tokens.split_first() {
                Some((Token::Check(text), rest)) => {
                    self.tokens = rest;
                    single(text)?
                }
                Some((token, _)) => {
                    return Err(format!("a check is missing before {}", token.name()));
                }
                None => return Err("a check is missing at the end".to_owned()),
            }
        };
        self.depth -= 1;
        Ok(check)
    }
}

fn one_or(mut checks: Vec<Check>, many: fn(Vec<Check>) -> Check) -> Check {
    if checks.len() == 1 { checks.remove(0) } else { many(checks) }
}

/// One `kind:match`.
fn single(text: &str) -> Result<Check, String> {
    match text {
        "@" => return Ok(Check::Always),
        "!" => return Ok(Check::Never),
        _ => {}
    }
    let unlike = || format!("\"{text}\" is not of the form kind:match");
    // A quoted constant may hold a colon.
    let quoted = text.strip_prefix('\'').and_then(|rest| rest.split_once("':"));
    if let Some((constant, wanted)) = quoted {
        return Ok(Check::Constant(constant.to_owned(), term(wanted)?));
    }
    let (kind, wanted) = text.split_once(':').ok_or_else(unlike)?;
    if kind.is_empty() || wanted.is_empty() {
        return Err(unlike());
    }
    if matches!(kind, "http" | "https") {
        return Err(format!("\"{text}\" asks another server, which is not supported"));
    }
    Ok(match kind {
        "rule" => Check::Rule(wanted.to_owned()),
        "role" => Check::Role(term(wanted)?),
        "True" | "False" => Check::Constant(kind.to_owned(), term(wanted)?),
        number if number.parse::<f64>().is_ok() => Check::Constant(kind.to_owned(), term(wanted)?),
        attribute => Check::Attribute(attribute.to_owned(), term(wanted)?),
    })
}

fn term(text: &str) -> Result<Term, String> {
    match text.strip_prefix("%(").and_then(|rest| rest.strip_suffix(")s")) {
        Some(name) if !name.contains("%(") => Ok(Term::OfTarget(name.to_owned())),
        None if !text.contains("%(") => Ok(Term::Literal(text.to_owned())),
        Some(_) | None => {
            Err(format!("\"{text}\" puts a %(name)s within a text, which is not supported"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn parentheses_of_a_substitution_stay() {
        let check = expression("(tenant_id:%(tenant_id)s)").unwrap();
        assert_eq!(check, Check::Attribute("tenant_id".into(), Term::OfTarget("tenant_id".into())));
    }

    proptest! {
        #[test]
        fn no_text_panics(text in "[ ()!@:'%a-c]{0,40}|(and|or|not|role:a|\\(|\\)| ){0,30}") {
            let _ = expression(&text);
        }
    }
}
