//! Reads SPDX licence expressions and decides whether we can ship under them.
//!
//! `OR` lets us choose, `AND` binds us to both, `WITH` belongs to the licence before it, and a `+`
//! (or later) is met by the version it names. Old manifests write `/` for `OR`. What cannot be
//! read is an error and never a yes.

use super::table::LICENCES;

/// Can we ship under this expression?
pub fn is_allowed(expression: &str) -> Result<bool, String> {
    let spaced = expression.replace('(', " ( ").replace(')', " ) ").replace('/', " OR ");
    let words: Vec<&str> = spaced.split_whitespace().collect();
    let mut reader = Reader { words: &words, at: 0 };
    let allowed = reader.any()?;
    match reader.peek() {
        None => Ok(allowed),
        Some(word) => Err(format!("unexpected {word} in {expression:?}")),
    }
}

struct Reader<'a> {
    words: &'a [&'a str],
    at: usize,
}

impl<'a> Reader<'a> {
    fn peek(&self) -> Option<&'a str> {
        self.words.get(self.at).copied()
    }

    fn take(&mut self, wanted: &str) -> bool {
        let found = self.peek() == Some(wanted);
        self.at += usize::from(found);
        found
    }

    fn any(&mut self) -> Result<bool, String> {
        let mut allowed = self.all()?;
        while self.take("OR") {
            allowed |= self.all()?;
        }
        Ok(allowed)
    }

    fn all(&mut self) -> Result<bool, String> {
        let mut allowed = self.one()?;
        while self.take("AND") {
            allowed &= self.one()?;
        }
        Ok(allowed)
    }

    fn one(&mut self) -> Result<bool, String> {
        if self.take("(") {
            let allowed = self.any()?;
            return if self.take(")") { Ok(allowed) } else { Err("a bracket is missing".into()) };
        }
        let name = self.name()?;
        let name = name.strip_suffix('+').unwrap_or(name);
        let licence = if self.take("WITH") {
            format!("{name} WITH {}", self.name()?)
        } else {
            name.to_owned()
        };
        Ok(LICENCES.iter().any(|(spdx, _)| *spdx == licence))
    }

    fn name(&mut self) -> Result<&'a str, String> {
        match self.peek() {
            Some(word) if !["(", ")", "AND", "OR", "WITH"].contains(&word) => {
                self.at += 1;
                Ok(word)
            }
            Some(word) => Err(format!("a licence was expected, not {word}")),
            None => Err("it ends where a licence was expected".into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn expressions_are_read_as_spdx_means_them() {
        let cases = [
            ("MIT", true),
            ("GPL-3.0-only", false),
            ("MIT/Apache-2.0", true),
            ("GPL-3.0-only OR MIT", true),
            ("GPL-3.0-only AND MIT", false),
            // AND binds more tightly than OR.
            ("MIT OR GPL-3.0-only AND GPL-2.0-only", true),
            ("(MIT OR GPL-3.0-only) AND GPL-2.0-only", false),
            ("(Apache-2.0 OR MIT) AND BSD-3-Clause", true),
            ("Apache-2.0 WITH LLVM-exception OR Apache-2.0 OR MIT", true),
            ("GPL-2.0-only WITH Classpath-exception-2.0", false),
            ("MIT WITH Unheard-exception", false),
            ("MPL-2.0+", true),
            ("LGPL-2.1-or-later", false),
        ];
        for (expression, allowed) in cases {
            assert_eq!(is_allowed(expression), Ok(allowed), "{expression}");
        }
    }

    #[test]
    fn what_cannot_be_read_is_never_a_yes() {
        for expression in
            ["", "MIT OR", "OR MIT", "(MIT", "MIT)", "MIT Apache-2.0", "MIT WITH", "()"]
        {
            assert!(is_allowed(expression).is_err(), "{expression:?}");
        }
    }
}
