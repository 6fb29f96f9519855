//! `ssl.principal.mapping.rules` (KIP-371): what name a certificate's subject becomes.

use regex::Regex;

/// Rules, of which the first that fits counts; a subject that none fits stays as it is.
#[derive(Debug, Clone, Default)]
pub struct PrincipalMapping {
    rules: Vec<Rule>,
}

#[derive(Debug, Clone)]
enum Rule {
    /// `DEFAULT`: the subject itself.
    Default,
    /// `RULE:pattern/replacement/[LU]`.
    Replace { pattern: Regex, replacement: String, case: Option<Case> },
}

#[derive(Debug, Clone, Copy)]
enum Case {
    Lower,
    Upper,
}

impl PrincipalMapping {
    /// Reads rules that are separated by commas.
    ///
    /// # Errors
    /// What is wrong with them.
    pub fn parse(text: &str) -> Result<PrincipalMapping, String> {
        let mut rules = Vec::new();
        let mut rest = text.trim();
        while !rest.is_empty() {
            if let Some(after) = rest.strip_prefix("DEFAULT") {
                rules.push(Rule::Default);
                rest = after;
            } else if let Some(after) = rest.strip_prefix("RULE:") {
                let (pattern, after) = until_slash(after).ok_or("a rule is RULE:pattern/replacement/[LU]")?;
                let (replacement, after) =
                    until_slash(after).ok_or("a rule is RULE:pattern/replacement/[LU]")?;
                let (case, after) = match after.chars().next() {
                    Some('L') => (Some(Case::Lower), &after[1..]),
                    Some('U') => (Some(Case::Upper), &after[1..]),
                    _ => (None, after),
                };
                let pattern = Regex::new(&format!("^(?:{pattern})$")).map_err(|error| error.to_string())?;
                rules.push(Rule::Replace { pattern, replacement: braced(&replacement), case });
                rest = after;
            } else {
                return Err(format!("expected RULE: or DEFAULT at {rest:?}"));
            }
            rest = rest.trim_start();
            rest = match rest.strip_prefix(',') {
                Some(after) => after.trim_start(),
                None if rest.is_empty() => rest,
                None => return Err(format!("expected a comma at {rest:?}")),
            };
        }
        Ok(PrincipalMapping { rules })
    }

    /// The name of a subject.
    pub fn name(&self, subject: &str) -> String {
        for rule in &self.rules {
            match rule {
                Rule::Default => break,
                Rule::Replace { pattern, replacement, case } => {
                    let Some(found) = pattern.captures(subject) else { continue };
                    let mut name = String::new();
                    found.expand(replacement, &mut name);
                    return match case {
                        Some(Case::Lower) => name.to_lowercase(),
                        Some(Case::Upper) => name.to_uppercase(),
                        None => name,
                    };
                }
            }
        }
        subject.to_owned()
    }
}

/// Text up to a slash that no backslash precedes, and what follows the slash.
fn until_slash(text: &str) -> Option<(String, &str)> {
    let mut found = String::new();
    let mut escaped = false;
    for (at, letter) in text.char_indices() {
        match letter {
            '/' if !escaped => return Some((found, text.get(at + 1..)?)),
            '/' => {
                found.pop();
                found.push('/');
            }
            other => found.push(other),
        }
        escaped = letter == '\\' && !escaped;
    }
    None
}

/// Groups as `${1}`: in `$1x` the rules mean the first group, and our patterns the group that is called `1x`.
fn braced(replacement: &str) -> String {
    let mut braced = String::new();
    let mut letters = replacement.chars().peekable();
    while let Some(letter) = letters.next() {
        braced.push(letter);
        if letter == '$' && letters.peek().is_some_and(char::is_ascii_digit) {
            braced.push('{');
            while let Some(digit) = letters.next_if(char::is_ascii_digit) {
                braced.push(digit);
            }
            braced.push('}');
        }
    }
    braced
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_rule_that_fits_counts() {
        let rules = "RULE:^CN=(.*?),OU=ServiceUsers.*$/$1/, RULE:^CN=(.*?),OU=(.*?),O=(.*?)$/$1@$2x/L, RULE:^.*[Cc][Nn]=([a-z\\/]*)$/$1/U, DEFAULT";
        let mapping = PrincipalMapping::parse(rules).unwrap();
        for (subject, name) in [
            ("CN=kafka1,OU=ServiceUsers,O=Unknown,C=Unknown", "kafka1"),
            ("CN=Alice,OU=Sales,O=Example", "alice@salesx"),
            ("cn=a/b", "A/B"),
            ("O=Example", "O=Example"),
        ] {
            assert_eq!(mapping.name(subject), name);
        }
        assert_eq!(PrincipalMapping::default().name("CN=a"), "CN=a");
    }

    #[test]
    fn what_is_no_rule_is_refused() {
        for wrong in ["RULE:a", "RULE:a/b", "RULE:(/b/", "OTHER", "RULE:a/b/L DEFAULT"] {
            assert!(PrincipalMapping::parse(wrong).is_err(), "{wrong}");
        }
    }
}
