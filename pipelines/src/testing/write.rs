//! A test as YAML, and into a file whose other characters all stay. Pure.

use serde_json::Value as Json;

use super::{TestCase, TopicRows};
use crate::check::shape::{Substitutes, json_of};
use crate::yaml::{self, Node};

/// The test as an item of `tests:`, each line behind `indent`.
pub fn yaml_of(case: &TestCase, indent: &str) -> String {
    let mut text = format!("{indent}- name: {}\n", scalar(&case.name));
    for (word, side) in [("given", &case.given), ("expect", &case.expect)] {
        if side.is_empty() {
            text.push_str(&format!("{indent}  {word}: {{}}\n"));
            continue;
        }
        text.push_str(&format!("{indent}  {word}:\n"));
        side.iter().for_each(|rows| text.push_str(&rows_of(rows, &format!("{indent}    "))));
    }
    text
}

fn rows_of(rows: &TopicRows, indent: &str) -> String {
    if rows.rows.is_empty() {
        return format!("{indent}{}: []\n", scalar(&rows.topic));
    }
    let lines = rows.rows.iter().map(|row| format!("{indent}  - {}\n", flow(&row.value)));
    format!("{indent}{}:\n{}", scalar(&rows.topic), lines.collect::<String>())
}

/// The file with the test behind its last one. None where its `tests:` are written otherwise than one item below the other, so
/// that nothing can be put behind them.
pub fn with_test(file: &str, case: &TestCase) -> Option<String> {
    let root = yaml::parse(file).ok()?;
    let mut lines: Vec<&str> = file.split_inclusive('\n').collect();
    let (at, written) = match root.entry("tests") {
        None => (lines.len(), format!("\ntests:\n{}", yaml_of(case, "  "))),
        Some(section) => {
            let indent = match section.value.items().first() {
                Some(first) => indent_of(lines.get(first.at.line as usize - 1)?)?,
                None => "  ",
            };
            let next = root.entries().iter().map(|entry| entry.key_at.line as usize - 1);
            let next = next.filter(|line| *line >= section.key_at.line as usize).min();
            let mut end = next.unwrap_or(lines.len());
            // What stands directly before the next section belongs to it; empty lines at the end stay there.
            while let Some(line) = end.checked_sub(1).and_then(|before| lines.get(before))
                && end > section.key_at.line as usize
                && (line.trim().is_empty() || next.is_some() && line.starts_with('#'))
            {
                end -= 1;
            }
            (end, yaml_of(case, indent))
        }
    };
    let newline = if file.contains("\r\n") { "\r\n" } else { "\n" };
    let mut written = written.replace('\n', newline);
    if at > 0 && !lines.get(at - 1)?.ends_with('\n') {
        written.insert_str(0, newline);
    }
    lines.insert(at, &written);
    let whole = lines.concat();
    is_the_same_but_for(&root, &whole, case).then_some(whole)
}

/// Whether the text says what it said before, and the test behind the others.
fn is_the_same_but_for(before: &Node, whole: &str, case: &TestCase) -> bool {
    let Ok(after) = yaml::parse(whole) else { return false };
    let Ok(item) = yaml::parse(&yaml_of(case, "")) else { return false };
    let none = Substitutes::default();
    let mut expected = json_of(before, &none);
    let Json::Object(sections) = &mut expected else { return false };
    let tests = sections.entry("tests").or_insert(Json::Null);
    if tests.is_null() {
        *tests = Json::Array(Vec::new());
    }
    let Json::Array(tests) = tests else { return false };
    tests.extend(item.items().first().map(|item| json_of(item, &none)));
    let says_what_was_recorded = tests.last().is_some_and(|test| is_test(test, case));
    says_what_was_recorded && json_of(&after, &none) == expected
}

fn is_test(test: &Json, case: &TestCase) -> bool {
    let side = |side: &[TopicRows]| -> Json {
        let rows = |rows: &TopicRows| rows.rows.iter().map(|row| row.value.clone()).collect();
        Json::Object(side.iter().map(|topic| (topic.topic.clone(), rows(topic))).collect())
    };
    test["name"] == case.name && test["given"] == side(&case.given) && test["expect"] == side(&case.expect)
}

/// What stands before the dash that begins an item.
fn indent_of(line: &str) -> Option<&str> {
    let (indent, _) = line.split_once("- ")?;
    indent.chars().all(|c| c == ' ').then_some(indent)
}

/// A value in one line.
fn flow(value: &Json) -> String {
    match value {
        Json::Object(columns) if columns.is_empty() => "{}".to_owned(),
        Json::Object(columns) => {
            let columns = columns.iter().map(|(name, value)| format!("{}: {}", scalar(name), flow(value)));
            format!("{{ {} }}", columns.collect::<Vec<_>>().join(", "))
        }
        Json::Array(items) => format!("[{}]", items.iter().map(flow).collect::<Vec<_>>().join(", ")),
        Json::String(text) => quoted(text),
        Json::Null | Json::Bool(_) | Json::Number(_) => value.to_string(),
    }
}

/// A text, without quotes where it is surely read as text.
fn scalar(text: &str) -> String {
    const OTHERS: [&str; 8] = ["true", "false", "null", "yes", "no", "on", "off", "y"];
    let is_plain = text.starts_with(|first: char| first.is_ascii_alphabetic())
        && text.chars().all(|c| c.is_ascii_alphanumeric() || "_-./ ".contains(c))
        && !text.ends_with(' ')
        && !OTHERS.contains(&text.to_ascii_lowercase().as_str())
        && text.len() > 1;
    if is_plain { text.to_owned() } else { quoted(text) }
}

/// A text in quotes, as JSON has it, and every character escaped that YAML refuses or nobody sees.
fn quoted(text: &str) -> String {
    let mut quoted = String::new();
    for character in Json::from(text).to_string().chars() {
        match character {
            ' '..='~' => quoted.push(character),
            '\u{10000}'.. if is_invisible(character) => {
                quoted.push_str(&format!("\\U{:08x}", u32::from(character)));
            }
            _ if is_invisible(character) => quoted.push_str(&format!("\\u{:04x}", u32::from(character))),
            _ => quoted.push(character),
        }
    }
    quoted
}

/// Whether Rust would escape it: controls, marks of direction, what is not assigned, and what only changes the character before.
fn is_invisible(character: char) -> bool {
    character.escape_debug().len() > 1
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::super::TestRow;
    use super::*;
    use crate::diagnostic::Position;

    fn case(given: Vec<Json>, expect: Vec<Json>) -> TestCase {
        let at = Position { line: 1, column: 1 };
        let side = |topic: &str, rows: Vec<Json>| {
            let rows = rows.into_iter().map(|value| TestRow { at, value }).collect();
            vec![TopicRows { topic: topic.to_owned(), at, rows }]
        };
        let (given, expect) = (side("in", given), side("out.1", expect));
        TestCase { name: "recorded: 1".to_owned(), at, given, expect, ordered: false }
    }

    fn small() -> TestCase {
        case(vec![json!({ "city": "A", "at": "2013-01-01T10:00:00Z", "count": null })], vec![])
    }

    const ITEM: &str = concat!(
        "  - name: \"recorded: 1\"\n    given:\n      in:\n",
        "        - { at: \"2013-01-01T10:00:00Z\", city: \"A\", count: null }\n",
        "    expect:\n      out.1: []\n",
    );

    #[test]
    fn a_test_is_put_behind_the_others_and_all_else_stays() {
        for (before, after) in [
            ("name: p # the name\n", "\ntests:\n"),
            ("name: p", "\n\ntests:\n"),
            ("name: p\ntests:\n  # one\n  - { name: a, given: {}, expect: {} }   # at the end\n", ""),
            ("name: p\ntests:\n", ""),
        ] {
            assert_eq!(with_test(before, &small()).unwrap(), format!("{before}{after}{ITEM}"));
        }
        let (first, rest) =
            ("tests:\n  - name: a\n    given: {}\n    expect: {}\n", "\n# the sinks\nsinks:\n  s: 1\n");
        assert_eq!(with_test(&format!("{first}{rest}"), &small()).unwrap(), format!("{first}{ITEM}{rest}"));
        let flush = "tests:\n- name: a\n  given: {}\nname: p\n";
        let written = with_test(flush, &small()).unwrap();
        assert!(
            written.starts_with("tests:\n- name: a\n  given: {}\n- name: \"recorded: 1\"\n  given:\n"),
            "{written}"
        );
        let windows = with_test("name: p\r\ntests:\r\n", &small()).unwrap();
        assert_eq!(windows, format!("name: p\ntests:\n{ITEM}").replace('\n', "\r\n"));
    }

    #[test]
    fn tests_in_one_line_are_left_alone() {
        for file in ["tests: []\n", "tests: [{ name: a }]\n", "{ name: p }\n", "tests: 1\n", "a: [\n"] {
            assert_eq!(with_test(file, &small()), None, "{file}");
        }
    }

    /// Texts that YAML, or what reads it, has taken for something else.
    const WORDS: [&str; 24] = [
        "NO",
        "True",
        "null",
        "Null",
        "~",
        "y",
        "1e3",
        "0x1F",
        "0o17",
        "1_000",
        "12:30",
        ".inf",
        "-.INF",
        ".NaN",
        "Infinity",
        "2013-01-01",
        "2013-01-01T10:00:00Z",
        "=",
        "<<",
        "-",
        "",
        "a b",
        "a: b",
        "a #b",
    ];

    fn value() -> impl Strategy<Value = Json> {
        let leaf = prop_oneof![
            Just(Json::Null),
            any::<bool>().prop_map(Json::from),
            any::<i64>().prop_map(Json::from),
            any::<u64>().prop_map(Json::from),
            // Those that JSON has.
            any::<f64>().prop_map(Json::from),
            "\\PC{0,12}".prop_map(Json::from),
            any::<String>().prop_map(Json::from),
            "[\u{0}-\u{20}\u{7e}-\u{a1}\u{ad}\u{300}\u{200b}-\u{202f}\u{feff}\u{fffd}-\u{10001}\u{10ffff}]{1,6}"
                .prop_map(Json::from),
            "[-a-z0-9:#&*!|>'\"{}\\[\\],?% \n\t~.]{0,8}".prop_map(Json::from),
            prop::sample::select(WORDS.to_vec()).prop_map(Json::from),
        ];
        let name = prop_oneof![
            "\\PC{0,5}",
            any::<String>(),
            prop::sample::select(WORDS.to_vec()).prop_map(str::to_owned)
        ];
        leaf.prop_recursive(2, 8, 3, move |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..3).prop_map(Json::from),
                prop::collection::btree_map(name.clone(), inner, 0..3)
                    .prop_map(|columns| Json::Object(columns.into_iter().collect())),
            ]
        })
    }

    #[test]
    fn what_nobody_sees_is_written_so_that_all_do() {
        let text = "a\u{7f}\u{85}\u{9c}\u{202e}\u{feff}\u{ffff}e\u{301}\u{e0001}ßé日🛫\n";
        let case = case(vec![json!(text), json!({ text: 1 })], vec![]);
        let written = with_test("name: p\n", &case).unwrap();
        let expected = r#""a\u007f\u0085\u009c\u202e\ufeff\uffffe\u0301\U000e0001ßé日🛫\n""#;
        assert!(written.contains(&format!("- {expected}\n")), "{written}");
        assert!(written.contains(&format!("- {{ {expected}: 1 }}\n")), "{written}");
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_again(
            name in prop_oneof![any::<String>(), prop::sample::select(WORDS.to_vec()).prop_map(str::to_owned)],
            rows in prop::collection::vec(value(), 0..4),
        ) {
            let case = TestCase { name, ..case(rows.clone(), rows) };
            for file in ["name: p\n", "name: p\r\ntests:\r\n- name: a\r\n\r\nsinks: {}"] {
                let written = with_test(file, &case);
                prop_assert!(written.is_some(), "{}", yaml_of(&case, ""));
                let read = json_of(&yaml::parse(&written.unwrap()).unwrap(), &Substitutes::default());
                let test = read["tests"].as_array().unwrap().last().unwrap();
                prop_assert_eq!(&test["name"], &Json::from(case.name.clone()));
                let given: Vec<Json> = case.given[0].rows.iter().map(|row| row.value.clone()).collect();
                prop_assert_eq!(&test["given"]["in"], &Json::from(given));
            }
        }
    }
}
