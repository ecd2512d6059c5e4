//! The grammar, row by row: what each form is true of, what is refused, and that a filter is written
//! as it is read.

use serde_json::json;

use super::*;

fn accepts(filter: &Value, stated: &Stated<'_>) -> bool {
    Filter::parse("capabilities:x", filter).unwrap().accepts(stated)
}

#[test]
fn the_table() {
    let text = |text: &'static str| Stated::Text(text.into());
    let (ssd, fast) = (text("SSD"), text("fast disk"));
    let (yes, no, three) = (Stated::Flag(true), Stated::Flag(false), Stated::Number(3.0));
    let words = ["Read".to_owned(), "Write".to_owned()];
    let words = Stated::Words(&words);
    let items = [json!("a"), json!(3), json!(true)];
    let items = Stated::Items(&items);
    let rows: Vec<(Value, Vec<&Stated<'_>>)> = vec![
        (json!("<is> true"), vec![&yes]),
        (json!("  <is>   T "), vec![&yes]),
        (json!("<is> 1"), vec![&yes]),
        (json!("<is> False"), vec![&no]),
        (json!("= 3"), vec![&three]),
        (json!("== 3.000000001"), vec![&three]),
        (json!("== 3.1"), vec![]),
        (json!("!= 3"), vec![]),
        (json!("!= 4"), vec![&three]),
        (json!("< 3"), vec![]),
        (json!("< 3.5"), vec![&three]),
        (json!("<= 3"), vec![&three]),
        (json!("> 3"), vec![]),
        (json!("> 2"), vec![&three]),
        (json!(">= 3"), vec![&three]),
        (json!(">= 4"), vec![]),
        (json!("s== ssd"), vec![&ssd]),
        (json!("s== Fast Disk"), vec![&fast]),
        (json!("s!= ssd"), vec![&fast]),
        (json!("s< ssd"), vec![&fast]),
        (json!("s<= ssd"), vec![&ssd, &fast]),
        (json!("s> fast"), vec![&ssd, &fast]),
        (json!("s>= ssd"), vec![&ssd]),
        (json!("<in> S[A-S]D"), vec![&ssd]),
        (json!("<in> st d"), vec![&fast]),
        (json!("<in> ssd"), vec![]),
        (json!("<in> ^Wri"), vec![&words]),
        (json!("<or> ssd"), vec![&ssd]),
        (json!("<or> 3 <or> true <or> fast disk"), vec![&three, &yes, &fast, &items]),
        (json!("ssd"), vec![&ssd]),
        (json!("fast DISK"), vec![&fast]),
        (json!("fast"), vec![]),
        (json!("3"), vec![&three, &items]),
        (json!("3.0"), vec![&three, &items]),
        (json!("t"), vec![&yes, &items]),
        (json!("write"), vec![&words]),
        (json!(true), vec![&yes]),
        (json!(false), vec![&no]),
        (json!(3), vec![&three]),
        (json!(["Read"]), vec![&words]),
        (json!(["Write", "Read"]), vec![&words]),
        (json!(["read"]), vec![]),
        (json!([3.0, "a"]), vec![&items]),
        (json!(["Read", "Execute"]), vec![]),
        (json!([]), vec![&words, &items]),
    ];
    for (filter, expected) in rows {
        for stated in [&ssd, &fast, &yes, &no, &three, &words, &items] {
            let wanted = expected.contains(&stated);
            assert_eq!(accepts(&filter, stated), wanted, "{filter} of {stated}");
        }
    }
}

#[test]
fn what_is_malformed() {
    for filter in [
        json!(""),
        json!("  "),
        json!("<is>"),
        json!("<is> yes"),
        json!("<is> true false"),
        json!("<or>"),
        json!("<or> a <or>"),
        json!("<or> <or> a"),
        json!("<in>"),
        json!("<in> ("),
        json!("<in> (?:a{999}){999}"),
        json!(">="),
        json!(">= "),
        json!(">= a"),
        json!(">= 1 2"),
        json!("== inf"),
        json!("== nan"),
        json!("s=="),
        json!("s==ssd"),
        json!(">100"),
        json!("=3"),
        json!("!=3"),
        json!("<is>true"),
        json!("<all-in> a"),
        json!("=> 3"),
        json!("=="),
        json!(null),
        json!({"a": 1}),
        json!([["a"]]),
        json!("x".repeat(2000)),
    ] {
        assert!(Filter::parse("capabilities:x", &filter).is_err(), "{filter}");
    }
}

#[test]
fn a_filter_is_written_as_it_is_read() {
    for text in ["<is> true", ">= 100", "s!= ssd", "<in> S[A]S", "<or> a <or> b c", "plain x"] {
        let filter = Filter::parse("capabilities:x", &json!(text)).unwrap();
        assert_eq!(filter.to_string(), text);
    }
    assert_eq!(Filter::parse("x", &json!(["a", 1])).unwrap().to_string(), r#"["a",1]"#);
}
