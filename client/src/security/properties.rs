//! Kafka's config files: `name=value` lines in the format of Java's `Properties`.

use std::collections::BTreeMap;

/// Reads the lines. A name that comes twice has its last value. Comments begin with `#` or `!`; a backslash at the end of a
/// line joins the next one to it; `\n`, `\t`, `\r`, `\f` and `\uXXXX` stand for their characters, any other character
/// after a backslash for itself.
pub fn parse_properties(text: &str) -> BTreeMap<String, String> {
    logical_lines(text).iter().map(|line| split(line)).collect()
}

/// Lines that are neither empty nor comments, with those that they are continued by.
fn logical_lines(text: &str) -> Vec<String> {
    let mut lines = Vec::new();
    let mut continued: Option<String> = None;
    for line in text.lines() {
        let line = line.trim_start_matches(is_space);
        if continued.is_none() && (line.is_empty() || line.starts_with(['#', '!'])) {
            continue;
        }
        let mut whole = continued.take().unwrap_or_default();
        let backslashes = line.len() - line.trim_end_matches('\\').len();
        match line.strip_suffix('\\').filter(|_| backslashes % 2 == 1) {
            Some(beginning) => {
                whole.push_str(beginning);
                continued = Some(whole);
            }
            None => {
                whole.push_str(line);
                lines.push(whole);
            }
        }
    }
    lines.extend(continued);
    lines
}

fn is_space(letter: char) -> bool {
    matches!(letter, ' ' | '\t' | '\x0c')
}

/// The name ends at the first `=`, `:` or space that no backslash precedes.
fn split(line: &str) -> (String, String) {
    let mut is_escaped = false;
    let end = line.find(|letter| {
        let ends = !is_escaped && (matches!(letter, '=' | ':') || is_space(letter));
        is_escaped = letter == '\\' && !is_escaped;
        ends
    });
    let (name, rest) = line.split_at(end.unwrap_or(line.len()));
    let rest = rest.trim_start_matches(is_space);
    let value = rest.strip_prefix(['=', ':']).unwrap_or(rest).trim_start_matches(is_space);
    (unescaped(name), unescaped(value))
}

fn unescaped(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    let mut letters = text.chars();
    while let Some(letter) = letters.next() {
        if letter != '\\' {
            plain.push(letter);
            continue;
        }
        match letters.next() {
            Some('n') => plain.push('\n'),
            Some('t') => plain.push('\t'),
            Some('r') => plain.push('\r'),
            Some('f') => plain.push('\x0c'),
            Some('u') => {
                let digits: String = letters.clone().take(4).collect();
                let decoded = u32::from_str_radix(&digits, 16).ok().and_then(char::from_u32);
                match decoded.filter(|_| digits.len() == 4) {
                    Some(decoded) => {
                        plain.push(decoded);
                        letters = {
                            let mut rest = letters;
                            rest.nth(3);
                            rest
                        };
                    }
                    None => plain.push('u'),
                }
            }
            Some(other) => plain.push(other),
            None => {}
        }
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expected: &[(&str, &str)]) {
        let expected = expected.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        assert_eq!(parse_properties(text), expected.collect::<BTreeMap<_, _>>(), "{text:?}");
    }

    #[test]
    fn lines_are_read_as_java_reads_them() {
        check("a=1\nb : 2\r\nc 3\n", &[("a", "1"), ("b", "2"), ("c", "3")]);
        check("# no\n  ! no\n\n a = x y \n", &[("a", "x y ")]);
        check("a=1\na=2", &[("a", "2")]);
        check("a", &[("a", "")]);
        check(r"a\=b\:c\ d=\\\t\u0041\z", &[("a=b:c d", "\\\tAz")]);
        check(
            "a=one \\\n    two\\\n\tthree\nb=1\\\\\nc=2",
            &[("a", "one twothree"), ("b", "1\\"), ("c", "2")],
        );
        check("a=b=c:d", &[("a", "b=c:d")]);
        check("a=\\uZZ", &[("a", "uZZ")]);
    }

    #[test]
    fn a_comment_inside_a_continued_line_belongs_to_it() {
        check("a=1,\\\n# not a comment\nb=2", &[("a", "1,# not a comment"), ("b", "2")]);
    }

    proptest::proptest! {
        #[test]
        fn any_text_is_read(text in "\\PC*|[\\\\u=:#\n ]*") {
            let _ = parse_properties(&text);
        }
    }
}
