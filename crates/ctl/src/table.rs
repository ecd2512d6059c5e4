//! The original's tables: `+`, `-` and `|`, one line per line of a value.
//!
//! Which properties are shown is asked for by name; in which order is decided by the noun, except
//! in an empty list, which has nothing but the names. A table cannot be used to talk to the
//! terminal: control characters in somebody's description come out as escapes.

use comfy_table::{ContentLineStyle, LineStyle, Table, TableStyle};

/// A property: its Go name and its text.
pub(crate) type Property = (&'static str, String);

/// One thing: a row for each of its properties among `keys`.
pub(crate) fn of_one(properties: Vec<Property>, keys: &[&str]) -> String {
    let mut rows = Vec::new();
    for (name, value) in properties.into_iter().filter(|(name, _)| keys.contains(name)) {
        add_row(&mut rows, &[name.to_owned(), value]);
    }
    draw(vec!["Property".to_owned(), "Value".to_owned()], rows)
}

/// Free pairs: a row for each.
pub(crate) fn of_pairs(pairs: impl Iterator<Item = (String, String)>) -> String {
    let mut rows = Vec::new();
    for (name, value) in pairs {
        add_row(&mut rows, &[name, value]);
    }
    draw(vec!["Property".to_owned(), "Value".to_owned()], rows)
}

/// A list: a column for each property among `keys`.
pub(crate) fn of_many(items: Vec<Vec<Property>>, keys: &[&str]) -> String {
    let mut head: Vec<String> = keys.iter().map(ToString::to_string).collect();
    let mut rows = Vec::new();
    for item in items {
        let (names, values): (Vec<_>, Vec<_>) = item
            .into_iter()
            .filter(|(name, _)| keys.contains(name))
            .map(|(name, value)| (name.to_owned(), value))
            .unzip();
        head = names;
        add_row(&mut rows, &values);
    }
    draw(head, rows)
}

/// A value of several lines makes several rows.
fn add_row(rows: &mut Vec<Vec<String>>, values: &[String]) {
    let columns: Vec<Vec<&str>> = values.iter().map(|value| value.split('\n').collect()).collect();
    let height = columns.iter().map(Vec::len).max().unwrap_or_default();
    for line in 0..height {
        rows.push(
            columns
                .iter()
                .map(|column| tame(column.get(line).copied().unwrap_or_default()))
                .collect(),
        );
    }
}

/// One line of somebody's text, its control characters as escapes.
pub(crate) fn tame(text: &str) -> String {
    let mut tamed = String::with_capacity(text.len());
    for c in text.chars() {
        if c.is_control() {
            tamed.extend(c.escape_default());
        } else {
            tamed.push(c);
        }
    }
    tamed
}

fn draw(head: Vec<String>, rows: Vec<Vec<String>>) -> String {
    let border = LineStyle::new('+', '-', '+', '+');
    let content = ContentLineStyle::new('|', '|', '|');
    let style = TableStyle::new()
        .top_border(border)
        .header_lines(content)
        .header_separator(border)
        .content_lines(content)
        .bottom_border(border);
    let mut table = Table::new();
    table.load_style(style).set_header(head).add_rows(rows);
    table.to_string()
}

#[cfg(test)]
mod tests {
    use expect_test::expect;

    use super::*;

    #[test]
    fn one_thing_in_its_own_order() {
        let properties =
            vec![("Id", "1".to_owned()), ("Size", "2".to_owned()), ("Name", String::new())];
        expect![[r#"
            +----------+-------+
            | Property | Value |
            +----------+-------+
            | Id       | 1     |
            | Name     |       |
            +----------+-------+"#]]
        .assert_eq(&of_one(properties, &["Name", "Id"]));
    }

    #[test]
    fn an_empty_list_in_the_asked_order() {
        expect![[r#"
            +------+----+
            | Name | Id |
            +------+----+
            +------+----+"#]]
        .assert_eq(&of_many(vec![], &["Name", "Id"]));
    }

    #[test]
    fn lines_and_wide_and_wild_characters() {
        let item = vec![("Id", "{\n  1\n}\n".to_owned()), ("Name", "h\u{f6}\u{1b}[31m".to_owned())];
        expect![[r#"
            +-----+--------------+
            | Id  | Name         |
            +-----+--------------+
            | {   | hö\u{1b}[31m |
            |   1 |              |
            | }   |              |
            |     |              |
            +-----+--------------+"#]]
        .assert_eq(&of_many(vec![item], &["Id", "Name"]));
    }
}
