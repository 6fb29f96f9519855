//! JSON text token by token (RFC 8259), nothing copied unless a string has escapes.
//!
//! A parser of values would do the same work, but none gives a number's own text, and that is needed: a double read by
//! way of a parser's fast path can be off by its last bit, and a decimal by way of a double loses digits. A property
//! test holds this scanner against serde_json: both must take the same texts and see the same values.

use std::borrow::Cow;

/// Deepest nesting of arrays and objects that is read; the usual limit of JSON parsers.
const DEPTH_MAX: usize = 128;

/// What a value starts as.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Token<'a> {
    Null,
    Boolean(bool),
    /// A number's text, as it is.
    Number(&'a str),
    /// A string follows: [`Scanner::string`].
    String,
    /// An array follows: [`Scanner::enter`].
    Array,
    /// An object follows: [`Scanner::enter`].
    Object,
}

/// A place in a JSON text.
pub(super) struct Scanner<'a> {
    text: &'a str,
    at: usize,
    depth: usize,
}

impl<'a> Scanner<'a> {
    pub(super) fn new(text: &'a str) -> Self {
        Self { text, at: 0, depth: 0 }
    }

    /// What the next value is; nulls, booleans and numbers are then behind, the others not yet begun.
    pub(super) fn value(&mut self) -> Result<Token<'a>, String> {
        self.skip_space();
        match self.peek() {
            Some(b'"') => Ok(Token::String),
            Some(b'{') => Ok(Token::Object),
            Some(b'[') => Ok(Token::Array),
            Some(b't') => self.word("true").map(|()| Token::Boolean(true)),
            Some(b'f') => self.word("false").map(|()| Token::Boolean(false)),
            Some(b'n') => self.word("null").map(|()| Token::Null),
            Some(b'-' | b'0'..=b'9') => self.number().map(Token::Number),
            _ => Err(self.unexpected("a value")),
        }
    }

    /// Goes into the array or object that [`Scanner::value`] saw.
    pub(super) fn enter(&mut self) -> Result<(), String> {
        self.depth += 1;
        if self.depth > DEPTH_MAX {
            return Err(format!("nested deeper than {DEPTH_MAX} levels"));
        }
        self.at += 1;
        Ok(())
    }

    /// Within an array: whether there is another item. `first` says that none has been read yet.
    pub(super) fn next_item(&mut self, first: bool) -> Result<bool, String> {
        self.next(b']', first)
    }

    /// Within an object: the next field's name, with the value to follow, or `None` at its end.
    pub(super) fn next_field(&mut self, first: bool) -> Result<Option<Cow<'a, str>>, String> {
        if !self.next(b'}', first)? {
            return Ok(None);
        }
        self.skip_space();
        if self.peek() != Some(b'"') {
            return Err(self.unexpected("a field name"));
        }
        let name = self.string()?;
        self.skip_space();
        if self.peek() != Some(b':') {
            return Err(self.unexpected("':'"));
        }
        self.at += 1;
        Ok(Some(name))
    }

    fn next(&mut self, close: u8, first: bool) -> Result<bool, String> {
        self.skip_space();
        match self.peek() {
            Some(byte) if byte == close => {
                self.at += 1;
                self.depth = self.depth.saturating_sub(1);
                Ok(false)
            }
            Some(_) if first => Ok(true),
            Some(b',') => {
                self.at += 1;
                Ok(true)
            }
            _ => Err(self.unexpected(if close == b']' { "',' or ']'" } else { "',' or '}'" })),
        }
    }

    /// Reads a string with its escapes resolved.
    pub(super) fn string(&mut self) -> Result<Cow<'a, str>, String> {
        self.at += 1;
        let start = self.at;
        let stop = self.string_stop();
        let plain = self.slice(start, stop);
        self.at = stop;
        if self.peek() == Some(b'"') {
            self.at += 1;
            return Ok(Cow::Borrowed(plain));
        }
        let mut owned = plain.to_owned();
        loop {
            match self.peek() {
                Some(b'"') => {
                    self.at += 1;
                    return Ok(Cow::Owned(owned));
                }
                Some(b'\\') => {
                    self.at += 1;
                    owned.push(self.escape()?);
                }
                Some(_) => return Err(self.unexpected("no control character in a string")),
                None => return Err("a string never ends".to_owned()),
            }
            let stop = self.string_stop();
            owned.push_str(self.slice(self.at, stop));
            self.at = stop;
        }
    }

    /// Where the plain run of a string's characters from here on stops.
    fn string_stop(&self) -> usize {
        let rest = self.text.as_bytes().get(self.at..).unwrap_or(&[]);
        let run = rest.iter().position(|byte| *byte == b'"' || *byte == b'\\' || *byte < 0x20);
        self.at + run.unwrap_or(rest.len())
    }

    fn escape(&mut self) -> Result<char, String> {
        let Some(byte) = self.peek() else { return Err("a string never ends".to_owned()) };
        self.at += 1;
        Ok(match byte {
            b'"' => '"',
            b'\\' => '\\',
            b'/' => '/',
            b'b' => '\u{8}',
            b'f' => '\u{c}',
            b'n' => '\n',
            b'r' => '\r',
            b't' => '\t',
            b'u' => return self.unicode_escape(),
            _ => {
                self.at -= 1;
                return Err(self.unexpected("an escape"));
            }
        })
    }

    /// The four digits after `\u`; a character beyond 16 bits is a pair of such escapes.
    fn unicode_escape(&mut self) -> Result<char, String> {
        let lone = || "half of a surrogate pair in a string".to_owned();
        let high = self.four_digits()?;
        if !(0xd800..0xe000).contains(&high) {
            return char::from_u32(high).ok_or_else(lone);
        }
        if high >= 0xdc00 || self.text.as_bytes().get(self.at..self.at + 2) != Some(b"\\u") {
            return Err(lone());
        }
        self.at += 2;
        let low = self.four_digits()?;
        if !(0xdc00..0xe000).contains(&low) {
            return Err(lone());
        }
        char::from_u32(0x1_0000 + ((high - 0xd800) << 10) + (low - 0xdc00)).ok_or_else(lone)
    }

    fn four_digits(&mut self) -> Result<u32, String> {
        let digits = self.text.as_bytes().get(self.at..self.at + 4).unwrap_or(&[]);
        let mut value = 0;
        for byte in digits {
            let Some(digit) = char::from(*byte).to_digit(16) else {
                return Err(self.unexpected("four hex digits"));
            };
            value = value * 16 + digit;
        }
        if digits.len() < 4 {
            return Err("a string never ends".to_owned());
        }
        self.at += 4;
        Ok(value)
    }

    fn number(&mut self) -> Result<&'a str, String> {
        let start = self.at;
        if self.peek() == Some(b'-') {
            self.at += 1;
        }
        let whole = self.at;
        self.digits()?;
        if self.at > whole + 1 && self.text.as_bytes().get(whole) == Some(&b'0') {
            return Err(format!("a number may not start with 0 (byte {whole})"));
        }
        if self.peek() == Some(b'.') {
            self.at += 1;
            self.digits()?;
        }
        if matches!(self.peek(), Some(b'e' | b'E')) {
            self.at += 1;
            if matches!(self.peek(), Some(b'+' | b'-')) {
                self.at += 1;
            }
            self.digits()?;
        }
        Ok(self.slice(start, self.at))
    }

    fn digits(&mut self) -> Result<(), String> {
        let rest = self.text.as_bytes().get(self.at..).unwrap_or(&[]);
        let run = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
        if run == 0 {
            return Err(self.unexpected("a digit"));
        }
        self.at += run;
        Ok(())
    }

    fn word(&mut self, word: &str) -> Result<(), String> {
        if !self.text.as_bytes().get(self.at..).is_some_and(|rest| rest.starts_with(word.as_bytes())) {
            return Err(self.unexpected("a value"));
        }
        self.at += word.len();
        Ok(())
    }

    /// Goes past a value that nobody wants, but not past an error in it.
    pub(super) fn skip_value(&mut self) -> Result<(), String> {
        match self.value()? {
            Token::Null | Token::Boolean(_) | Token::Number(_) => Ok(()),
            Token::String => self.string().map(|_| ()),
            Token::Array => {
                self.enter()?;
                let mut first = true;
                while self.next_item(first)? {
                    self.skip_value()?;
                    first = false;
                }
                Ok(())
            }
            Token::Object => {
                self.enter()?;
                let mut first = true;
                while self.next_field(first)?.is_some() {
                    self.skip_value()?;
                    first = false;
                }
                Ok(())
            }
        }
    }

    /// Checks that nothing but space is left.
    pub(super) fn end(&mut self) -> Result<(), String> {
        self.skip_space();
        if self.at == self.text.len() {
            Ok(())
        } else {
            Err("there is more after the JSON object".to_owned())
        }
    }

    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn skip_space(&mut self) {
        while let Some(b' ' | b'\t' | b'\n' | b'\r') = self.peek() {
            self.at += 1;
        }
    }

    /// Both ends are next to ASCII bytes, so they never split a character.
    fn slice(&self, start: usize, end: usize) -> &'a str {
        self.text.get(start..end).unwrap_or_default()
    }

    fn unexpected(&self, wanted: &str) -> String {
        match self.text.get(self.at..).and_then(|rest| rest.chars().next()) {
            Some(found) => format!("expected {wanted} at byte {}, found {found:?}", self.at),
            None => format!("expected {wanted} at byte {}, found the end", self.at),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::{Map, Value};

    /// Builds what serde_json would, by our scanner.
    fn read(scanner: &mut Scanner) -> Result<Value, String> {
        Ok(match scanner.value()? {
            Token::Null => Value::Null,
            Token::Boolean(value) => Value::Bool(value),
            Token::Number(text) => Value::String(rounded(text.parse().unwrap())),
            Token::String => Value::String(scanner.string()?.into_owned()),
            Token::Array => {
                scanner.enter()?;
                let mut items = Vec::new();
                while scanner.next_item(items.is_empty())? {
                    items.push(read(scanner)?);
                }
                Value::Array(items)
            }
            Token::Object => {
                scanner.enter()?;
                let mut fields = Map::new();
                let mut first = true;
                while let Some(name) = scanner.next_field(first)? {
                    fields.insert(name.into_owned(), read(scanner)?);
                    first = false;
                }
                Value::Object(fields)
            }
        })
    }

    fn read_all(text: &str) -> Result<Value, String> {
        let mut scanner = Scanner::new(text);
        let value = read(&mut scanner)?;
        scanner.end()?;
        let mut skipper = Scanner::new(text);
        skipper.skip_value().and_then(|()| skipper.end()).expect("what can be read can be skipped");
        Ok(value)
    }

    /// serde_json's last bit may differ (98E+39 is one), so only rounded numbers are compared.
    fn rounded(number: f64) -> String {
        format!("number {number:.9e}")
    }

    fn mark_numbers(value: Value) -> Value {
        match value {
            Value::Number(number) => Value::String(rounded(number.as_f64().unwrap())),
            Value::Array(items) => Value::Array(items.into_iter().map(mark_numbers).collect()),
            Value::Object(fields) => {
                Value::Object(fields.into_iter().map(|(name, value)| (name, mark_numbers(value))).collect())
            }
            other => other,
        }
    }

    fn check(text: &str) {
        match (serde_json::from_str::<Value>(text), read_all(text)) {
            (Ok(theirs), Ok(ours)) => assert_eq!(ours, mark_numbers(theirs), "{text:?}"),
            (Err(_), Err(_)) => {}
            // serde_json refuses numbers beyond the range of a double; for us they are text.
            (Err(error), Ok(_)) => {
                assert!(error.to_string().contains("number out of range"), "{text:?}: {error}")
            }
            (Ok(_), Err(error)) => panic!("{text:?} is JSON, but: {error}"),
        }
    }

    #[test]
    fn agrees_with_serde_json_on_the_corners() {
        for text in [
            "",
            "{",
            "[",
            "\"",
            "tru",
            "nul",
            "-",
            "01",
            "-01",
            "0",
            "-0",
            "1.",
            ".5",
            "1e",
            "1e+",
            "1E-2",
            "[1,]",
            "[,1]",
            "{\"a\"}",
            "{\"a\":}",
            "{\"a\":1,}",
            "{a:1}",
            "\"\\u12\"",
            "\"\\ud800\"",
            "\"\\ud83d\\ude00\"",
            "\"\\udc00\"",
            "\"\\ud83d\\u0041\"",
            "\"\n\"",
            "\"\\x\"",
            " [ 1 , { \"a\" : [ ] } ] ",
            "1 2",
            "\u{feff}1",
            "\"é\\né\"",
        ] {
            check(text);
        }
        check(&("[".repeat(120) + &"]".repeat(120)));
        assert!(read_all(&("[".repeat(129) + &"]".repeat(129))).is_err());
    }

    proptest! {
        #[test]
        fn agrees_with_serde_json(text in prop_oneof![
            "[\\[\\]{}\",:0-9.eEtrufalsn \\\\-]{0,24}",
            "\\PC{0,12}",
            "\"(\\\\[\"\\\\/bfnrtu]|\\\\u[0-9a-dA-D]{4}|[a-zé\u{1}]){0,6}\"",
            "-?[0-9]{0,3}(\\.[0-9]{0,3})?([eE][+-]?[0-9]{0,2})?",
        ]) {
            check(&text);
        }
    }
}
