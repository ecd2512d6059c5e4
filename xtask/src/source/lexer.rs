//! Splits Rust text into code and comments, blanking what belongs to neither.
//!
//! Character for character: whatever is blanked becomes a space and line ends stay, so a column
//! in a view is a column in the file. Knows nested block comments, raw and byte strings, and the
//! difference between a character literal and a lifetime; nothing else is needed here.

/// Two views of one text, of the same shape as the text.
#[derive(Debug)]
pub struct Views {
    /// Code only.
    pub code: String,
    /// Comments only, with their slashes.
    pub comments: String,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Code,
    Comment,
    Literal,
}

/// Takes Rust text apart.
pub fn views(text: &str) -> Views {
    let chars: Vec<char> = text.chars().collect();
    let kinds = kinds(&chars);
    Views { code: only(&chars, &kinds, Kind::Code), comments: only(&chars, &kinds, Kind::Comment) }
}

/// For each line: does it end inside a literal? (Its trailing blanks are data then.)
pub fn lines_ending_in_literals(text: &str) -> Vec<bool> {
    let chars: Vec<char> = text.chars().collect();
    let kinds = kinds(&chars);
    let ends = chars.iter().zip(&kinds).filter(|(c, _)| **c == '\n');
    ends.map(|(_, kind)| *kind == Kind::Literal).collect()
}

fn only(chars: &[char], kinds: &[Kind], wanted: Kind) -> String {
    let keep = |(c, kind): (&char, &Kind)| if *c == '\n' || *kind == wanted { *c } else { ' ' };
    chars.iter().zip(kinds).map(keep).collect()
}

fn kinds(chars: &[char]) -> Vec<Kind> {
    let mut kinds = vec![Kind::Code; chars.len()];
    let mut at = 0;
    while at < chars.len() {
        let (kind, end) = match (chars[at], chars.get(at + 1).copied()) {
            ('/', Some('/')) => (Kind::Comment, line_end(chars, at)),
            ('/', Some('*')) => (Kind::Comment, block_end(chars, at)),
            ('"', _) => (Kind::Literal, string_end(chars, at + 1)),
            ('\'', _) => match char_end(chars, at) {
                Some(end) => (Kind::Literal, end),
                None => (Kind::Code, at + 1),
            },
            (c, _) if is_word(c) => word(chars, at),
            _ => (Kind::Code, at + 1),
        };
        kinds[at..end].fill(kind);
        at = end;
    }
    kinds
}

/// A word may be the prefix of a raw string: `r"`, `r#"`, `br##"`, `cr"`.
fn word(chars: &[char], start: usize) -> (Kind, usize) {
    let len = chars[start..].iter().take_while(|c| is_word(**c)).count();
    let end = start + len;
    let prefix: String = chars[start..end].iter().collect();
    if !["r", "br", "cr"].contains(&prefix.as_str()) {
        return (Kind::Code, end);
    }
    let hashes = chars[end..].iter().take_while(|c| **c == '#').count();
    if chars.get(end + hashes) != Some(&'"') {
        return (Kind::Code, end);
    }
    let closes = |at: usize| {
        chars[at] == '"'
            && chars[at + 1..].iter().take(hashes).filter(|c| **c == '#').count() == hashes
    };
    let close = (end + hashes + 1..chars.len()).find(|at| closes(*at));
    (Kind::Literal, close.map_or(chars.len(), |at| at + 1 + hashes))
}

fn line_end(chars: &[char], start: usize) -> usize {
    chars[start..].iter().position(|c| *c == '\n').map_or(chars.len(), |offset| start + offset)
}

fn block_end(chars: &[char], start: usize) -> usize {
    let mut depth = 0;
    let mut at = start;
    while at + 1 < chars.len() {
        match (chars[at], chars[at + 1]) {
            ('/', '*') => {
                depth += 1;
                at += 2;
            }
            ('*', '/') => {
                depth -= 1;
                at += 2;
                if depth == 0 {
                    return at;
                }
            }
            _ => at += 1,
        }
    }
    chars.len()
}

fn string_end(chars: &[char], start: usize) -> usize {
    let mut at = start;
    while at < chars.len() {
        match chars[at] {
            '\\' => at += 2,
            '"' => return at + 1,
            _ => at += 1,
        }
    }
    chars.len()
}

/// `'a'` and `'\n'` are characters; `'a` alone is a lifetime.
fn char_end(chars: &[char], start: usize) -> Option<usize> {
    match chars.get(start + 1)? {
        '\\' => {
            let close = chars.get(start + 3..)?.iter().position(|c| *c == '\'')?;
            Some(start + 3 + close + 1)
        }
        _ => (chars.get(start + 2) == Some(&'\'')).then_some(start + 3),
    }
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

#[cfg(test)]
mod tests {
    use super::*;

    fn code(text: &str) -> String {
        let views = views(text);
        assert_eq!(views.code.chars().count(), text.chars().count(), "the shape must be kept");
        views.code.split_whitespace().collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn comments_are_not_code() {
        assert_eq!(code("a /* b /* c */ d */ e // f\ng"), "a e g");
        assert!(views("a // why\n").comments.contains("// why"));
    }

    #[test]
    fn strings_are_not_code() {
        assert_eq!(code(r#"a("todo!() // \" x"); b"#), "a( ); b");
        assert_eq!(code(r##"a(r#"x " y"#, b"z"); c"##), "a( , b ); c");
    }

    #[test]
    fn characters_are_told_from_lifetimes() {
        assert_eq!(
            code(r"fn f<'a>(x: &'a str) { x == '\'' || '\u{41}' || '{' }"),
            "fn f<'a>(x: &'a str) { x == || || }"
        );
    }

    #[test]
    fn an_unfinished_literal_does_not_panic() {
        for text in ["\"abc", "r#\"abc", "'", "'\\", "/* abc", "/", "b'", "\"\\"] {
            views(text);
        }
    }

    #[test]
    fn a_line_inside_a_literal_is_known() {
        assert_eq!(lines_ending_in_literals("a = \"x \n y\";\nb\n"), [true, false, false]);
    }
}
