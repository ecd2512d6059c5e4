//! Every path a piece of Rust names, with `use` trees spelled out.
//!
//! `use std::{fs, time::Instant}` names `std::fs` and `std::time::Instant`, and the rules of
//! `layers` want to see them so. Works on the code view; a path is words joined by `::`.

/// A path that is named somewhere, and the line (counted from one).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NamedPath {
    /// Line it stands on.
    pub line: usize,
    /// Its words, without a leading `::`.
    pub words: Vec<String>,
    /// Comes from a `use` item.
    pub imported: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Token {
    Word(String),
    Colons,
    Other(char),
}

/// All paths of a code view, in order.
pub fn named_paths(code: &str) -> Vec<NamedPath> {
    let tokens = tokens(code);
    let mut found = Vec::new();
    let mut at = 0;
    while at < tokens.len() {
        match &tokens[at].1 {
            Token::Word(word) if word == "use" => {
                at = use_tree(&tokens, at + 1, &[], &mut found);
            }
            Token::Word(word) if word == "extern" && is_extern_crate(&tokens, at) => at += 2,
            Token::Word(_) => {
                let line = tokens[at].0;
                let (words, end) = path(&tokens, at);
                found.push(NamedPath { line, words, imported: false });
                at = end;
            }
            Token::Colons | Token::Other(_) => at += 1,
        }
    }
    found
}

fn is_extern_crate(tokens: &[(usize, Token)], at: usize) -> bool {
    matches!(tokens.get(at + 1), Some((_, Token::Word(next))) if next == "crate")
}

/// Words joined by `::`, starting at a word; ends before the first token that does not belong.
fn path(tokens: &[(usize, Token)], mut at: usize) -> (Vec<String>, usize) {
    let mut words = Vec::new();
    while let Some((_, Token::Word(word))) = tokens.get(at) {
        words.push(word.clone());
        at += 1;
        let joined = matches!(tokens.get(at), Some((_, Token::Colons)))
            && matches!(tokens.get(at + 1), Some((_, Token::Word(_))));
        if !joined {
            break;
        }
        at += 1;
    }
    (words, at)
}

/// One branch of a `use` tree; returns where the next branch begins.
fn use_tree(
    tokens: &[(usize, Token)],
    start: usize,
    prefix: &[String],
    found: &mut Vec<NamedPath>,
) -> usize {
    let mut at = start;
    let mut words = prefix.to_vec();
    let mut line = tokens.get(at).map_or(0, |token| token.0);
    let mut ended_in_group = false;
    while let Some((here, token)) = tokens.get(at) {
        match token {
            Token::Colons => at += 1,
            // `a as b` names `a`.
            Token::Word(word) if word == "as" => at += 2,
            Token::Word(word) => {
                line = *here;
                if word != "self" || words.is_empty() {
                    words.push(word.clone());
                }
                at += 1;
            }
            Token::Other('{') => {
                ended_in_group = true;
                at += 1;
                while let Some((_, token)) = tokens.get(at) {
                    match token {
                        Token::Other('}') => {
                            at += 1;
                            break;
                        }
                        Token::Other(',') => at += 1,
                        Token::Other(';') => break,
                        Token::Word(_) | Token::Colons | Token::Other(_) => {
                            let next = use_tree(tokens, at, &words, found);
                            // Broken code must not keep us here for ever.
                            at = next.max(at + 1);
                        }
                    }
                }
            }
            Token::Other('*') => at += 1,
            Token::Other(_) => break,
        }
    }
    if !ended_in_group && !words.is_empty() {
        found.push(NamedPath { line, words, imported: true });
    }
    at
}

fn tokens(code: &str) -> Vec<(usize, Token)> {
    let mut found = Vec::new();
    for (index, line) in code.lines().enumerate() {
        let mut chars = line.chars().peekable();
        while let Some(c) = chars.next() {
            let token = if c.is_alphanumeric() || c == '_' {
                let mut word = String::from(c);
                while let Some(next) = chars.next_if(|c| c.is_alphanumeric() || *c == '_') {
                    word.push(next);
                }
                Token::Word(word)
            } else if c == ':' && chars.next_if_eq(&':').is_some() {
                Token::Colons
            } else if c.is_whitespace() {
                continue;
            } else {
                Token::Other(c)
            };
            found.push((index + 1, token));
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spelled(code: &str) -> Vec<String> {
        let imported = named_paths(code).into_iter().filter(|path| path.imported);
        imported.map(|path| format!("{} {}", path.line, path.words.join("::"))).collect()
    }

    #[test]
    fn a_use_tree_is_spelled_out() {
        let code =
            "use std::{\n    fs::{self, File},\n    time::Instant as Now,\n};\nuse ::redb::*;\n";
        assert_eq!(
            spelled(code),
            ["2 std::fs", "2 std::fs::File", "3 std::time::Instant", "5 redb"]
        );
    }

    #[test]
    fn a_path_in_the_middle_of_code_is_seen() {
        let paths = named_paths("let x = std::fs::read(path)?;\nextern crate redb;");
        assert!(paths.iter().any(|path| path.words.join("::") == "std::fs::read"));
        assert!(paths.iter().any(|path| path.words == ["redb"] && path.line == 2));
    }

    #[test]
    fn broken_code_ends() {
        for code in ["use a::{b, ", "use a::{b;", "use ", "use {{{", "use a::{)}", "a::b::"] {
            named_paths(code);
        }
    }
}
