//! The ini dialect of the original's `opensds.conf`, with the line of everything.
//!
//! It is that of Go's ini library as the original calls it, quirks included, because what counts is
//! what the original made of a file: a `#` or `;` anywhere in a value begins a comment unless the
//! value stands in backticks or triple quotes, keys and sections have case, a backslash at the end
//! goes on in the next line, and of two equal keys the last counts.
//!
//! Must stay true: no message repeats a line or a value, which may be a password.

/// A file: sections in the order of their first appearance.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Ini {
    pub(crate) sections: Vec<Section>,
}

/// `[name]` and what stands below it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Section {
    /// Empty for what stands above the first section.
    pub(crate) name: String,
    pub(crate) line: usize,
    pub(crate) entries: Vec<Entry>,
}

/// `key = value`
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) key: String,
    pub(crate) value: String,
    pub(crate) line: usize,
    /// A `#` or `;` that no blank stands before cut the value short: perhaps nobody meant that.
    pub(crate) cut: bool,
}

impl std::fmt::Debug for Entry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Entry").field("key", &self.key).field("line", &self.line).finish()
    }
}

/// A line that says nothing.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line} {what}")]
pub(crate) struct IniError {
    pub(crate) line: usize,
    pub(crate) what: &'static str,
}

impl Ini {
    pub(crate) fn parse(text: &str) -> Result<Self, IniError> {
        let mut ini = Self::default();
        let mut section = 0;
        let mut lines = text.trim_start_matches('\u{feff}').lines().enumerate();
        while let Some((index, text)) = lines.next() {
            let (line, text) = (index + 1, text.trim());
            let wrong = |what| IniError { line, what };
            if text.is_empty() || text.starts_with(['#', ';']) {
                continue;
            }
            if let Some(rest) = text.strip_prefix('[') {
                let (name, _) = rest.split_once(']').ok_or_else(|| wrong("has no closing ]"))?;
                section = ini.section_at(name.trim(), line);
                continue;
            }
            let split = text.split_once(['=', ':']).filter(|(key, _)| !key.trim().is_empty());
            let (key, rest) = split.ok_or_else(|| wrong("is neither [section] nor key = value"))?;
            let mut value = rest.trim().to_owned();
            while !is_quoted(&value) && value.ends_with('\\') {
                value.pop();
                let Some((_, more)) = lines.next() else { break };
                value.push_str(more.trim());
            }
            let (value, cut) = unquoted(&value).map_err(wrong)?;
            if ini.sections.is_empty() {
                section = ini.section_at("", line);
            }
            let key = key.trim().trim_matches(['"', '`']).to_owned();
            ini.sections[section].entries.push(Entry { key, value, line, cut });
        }
        Ok(ini)
    }

    pub(crate) fn section(&self, name: &str) -> Option<&Section> {
        self.sections.iter().find(|section| section.name == name)
    }

    fn section_at(&mut self, name: &str, line: usize) -> usize {
        let known = self.sections.iter().position(|section| section.name == name);
        known.unwrap_or_else(|| {
            let section = Section { name: name.to_owned(), line, entries: Vec::new() };
            self.sections.push(section);
            self.sections.len() - 1
        })
    }
}

impl Section {
    /// What counts for a key: the last that was said, unless it is empty.
    pub(crate) fn get(&self, key: &str) -> Option<&Entry> {
        let last = self.entries.iter().rev().find(|entry| entry.key == key);
        last.filter(|entry| !entry.value.is_empty())
    }
}

/// Quotes in which nothing is a comment.
const QUOTES: [&str; 2] = ["\"\"\"", "`"];

fn is_quoted(value: &str) -> bool {
    QUOTES.iter().any(|quote| value.starts_with(quote))
}

/// The value without its quotes and its comment, and whether the comment may not have been one.
fn unquoted(value: &str) -> Result<(String, bool), &'static str> {
    if let Some(quote) = QUOTES.iter().find(|quote| value.starts_with(**quote)) {
        let inner = &value[quote.len()..];
        let end = inner.rfind(quote).ok_or("begins a value of several lines; write it in one")?;
        return Ok((inner[..end].to_owned(), false));
    }
    let comment = value.find(['#', ';']);
    let cut = comment.is_some_and(|at| at > 0 && !value[..at].ends_with([' ', '\t']));
    let value = value[..comment.unwrap_or(value.len())].trim();
    let bare = ['"', '\''].iter().find_map(|quote| {
        let inner = value.strip_prefix(*quote)?.strip_suffix(*quote)?;
        (!inner.contains(*quote)).then_some(inner)
    });
    Ok((bare.unwrap_or(value).to_owned(), cut))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value(text: &str) -> (String, bool) {
        let ini = Ini::parse(&format!("[a]\nkey{text}\n")).unwrap();
        let entry = &ini.sections[0].entries[0];
        (entry.value.clone(), entry.cut)
    }

    #[test]
    fn values_as_go_reads_them() {
        for (text, meant, cut) in [
            ("=x", "x", false),
            ("  =  x y  ", "x y", false),
            (": x", "x", false),
            ("= a=b:c", "a=b:c", false),
            ("=", "", false),
            ("= x # words", "x", false),
            ("= x ; words", "x", false),
            ("= # words", "", false),
            ("= pass#word", "pass", true),
            ("= \"quoted\"", "quoted", false),
            ("= 'single'", "single", false),
            ("= \"half", "\"half", false),
            ("= \"pass#word\"", "\"pass", true),
            ("= `pass#word`", "pass#word", false),
            ("= \"\"\"a;b\"\"\"", "a;b", false),
            ("= one \\\n  two", "one two", false),
        ] {
            assert_eq!(value(text), (meant.to_owned(), cut), "{text}");
        }
    }

    #[test]
    fn sections_lines_and_what_counts() {
        let text = "\u{feff}top = 1\n# words\n; words\n\n[ b ]\nk = 1\n[a]\nk = 2\n[b]\nk = 3\n";
        let ini = Ini::parse(text).unwrap();
        let names: Vec<_> = ini.sections.iter().map(|s| (s.name.as_str(), s.line)).collect();
        assert_eq!(names, [("", 1), ("b", 5), ("a", 7)]);
        let last = ini.section("b").unwrap().get("k").unwrap();
        assert_eq!((last.value.as_str(), last.line), ("3", 10));
        assert!(ini.section("B").is_none());
    }

    #[test]
    fn a_bad_line_is_named_and_not_repeated() {
        for (text, line) in [("[a]\nhunter2\n", 2), ("[hunter2\n", 1), ("[a]\np = `hunter2\n", 2)] {
            let error = Ini::parse(text).unwrap_err();
            assert_eq!(error.line, line, "{error}");
            assert!(!error.to_string().contains("hunter2"), "{error}");
        }
        let secret = Ini::parse("[a]\npassword = hunter2\n").unwrap();
        assert!(!format!("{secret:?}").contains("hunter2"));
    }
}
