//! Reading `sasl.jaas.config`: a login module, a flag, options, a semicolon.

use std::collections::BTreeMap;

/// What a login module was given.
#[derive(PartialEq, Eq)]
pub struct Jaas {
    /// The module's class without its package.
    pub module: String,
    /// Its options.
    pub options: BTreeMap<String, String>,
}

impl Jaas {
    /// Reads it.
    ///
    /// # Errors
    /// What is wrong, without anything of the text: it has passwords in it.
    pub fn parse(text: &str) -> Result<Jaas, &'static str> {
        let mut words = Words { rest: text }.collect::<Result<Vec<_>, _>>()?.into_iter();
        let class = words.next().ok_or("is empty")?;
        let module = class.rsplit('.').next().unwrap_or_default().to_owned();
        match words.next().as_deref() {
            Some("required" | "requisite" | "sufficient" | "optional") => {}
            _ => return Err("should have `required` after the login module"),
        }
        let mut options = BTreeMap::new();
        for word in words {
            let (key, value) = word.split_once('=').ok_or("should have options as name=\"value\"")?;
            options.insert(key.to_owned(), value.to_owned());
        }
        Ok(Jaas { module, options })
    }

    /// Users and passwords among the options of the module for SASL PLAIN.
    pub fn users(&self) -> impl Iterator<Item = (&str, &str)> {
        self.options.iter().filter_map(|(key, value)| Some((key.strip_prefix("user_")?, value.as_str())))
    }
}

/// Words up to the semicolon, with quotes taken off.
struct Words<'a> {
    rest: &'a str,
}

impl Iterator for Words<'_> {
    type Item = Result<String, &'static str>;

    fn next(&mut self) -> Option<Self::Item> {
        self.rest = self.rest.trim_start();
        let mut word = String::new();
        let mut quote = None;
        let mut letters = self.rest.char_indices();
        loop {
            let (at, letter) = match letters.next() {
                None => {
                    let unfinished = !self.rest.is_empty() || quote.is_some();
                    self.rest = "";
                    return unfinished.then_some(Err("should end with a semicolon outside of quotes"));
                }
                Some(next) => next,
            };
            match (quote, letter) {
                (Some(_), '\\') => word.extend(letters.next().map(|(_, escaped)| escaped)),
                (Some(open), letter) if letter == open => quote = None,
                (Some(_), letter) => word.push(letter),
                (None, '"' | '\'') => quote = Some(letter),
                (None, ';') if at == 0 => {
                    self.rest = "";
                    return None;
                }
                (None, letter) if letter == ';' || letter.is_whitespace() => {
                    self.rest = self.rest.get(at..).unwrap_or_default();
                    return Some(Ok(word));
                }
                (None, letter) => word.push(letter),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn users_are_among_the_options() {
        let text = "org.apache.kafka.common.security.plain.PlainLoginModule required\n  username=\"admin\" user_alice=\"a b;\\\"c\" user_bob='x';";
        let jaas = Jaas::parse(text).unwrap();
        assert_eq!(jaas.module, "PlainLoginModule");
        assert_eq!(jaas.users().collect::<Vec<_>>(), [("alice", "a b;\"c"), ("bob", "x")]);
    }

    #[test]
    fn what_is_no_jaas_config_is_refused_without_being_repeated() {
        for wrong in [
            "",
            ";",
            "Module;",
            "Module required user_a=\"secret\"",
            "Module required secret;",
            "Module required a=\"b",
        ] {
            let error = Jaas::parse(wrong).err().unwrap_or_else(|| panic!("{wrong}"));
            assert!(!error.contains("secret"), "{error}");
        }
    }
}
