//! Compatibility levels, and what they ask of a new schema beside the versions that are there.

use std::fmt;
use std::str::FromStr;

use super::error::RegistryError;
use super::parsed::ParsedSchema;

/// What must hold between versions of a subject.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum CompatibilityLevel {
    None,
    /// The new schema reads what the last one wrote.
    Backward,
    BackwardTransitive,
    /// The last schema reads what the new one writes.
    Forward,
    ForwardTransitive,
    /// Both.
    Full,
    FullTransitive,
}

use CompatibilityLevel::{Backward, BackwardTransitive, Forward, ForwardTransitive, Full, FullTransitive};

impl CompatibilityLevel {
    /// Of a registry that nobody has configured.
    pub const DEFAULT: CompatibilityLevel = Backward;

    /// Confluent's word.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            CompatibilityLevel::None => "NONE",
            Backward => "BACKWARD",
            BackwardTransitive => "BACKWARD_TRANSITIVE",
            Forward => "FORWARD",
            ForwardTransitive => "FORWARD_TRANSITIVE",
            Full => "FULL",
            FullTransitive => "FULL_TRANSITIVE",
        }
    }

    fn is_transitive(self) -> bool {
        matches!(self, BackwardTransitive | ForwardTransitive | FullTransitive)
    }

    fn is_backward(self) -> bool {
        matches!(self, Backward | BackwardTransitive | Full | FullTransitive)
    }

    fn is_forward(self) -> bool {
        matches!(self, Forward | ForwardTransitive | Full | FullTransitive)
    }
}

impl fmt::Display for CompatibilityLevel {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.word())
    }
}

impl FromStr for CompatibilityLevel {
    type Err = RegistryError;

    fn from_str(text: &str) -> Result<Self, RegistryError> {
        let all = [
            CompatibilityLevel::None,
            Backward,
            BackwardTransitive,
            Forward,
            ForwardTransitive,
            Full,
            FullTransitive,
        ];
        let found = all.into_iter().find(|level| level.word().eq_ignore_ascii_case(text));
        found.ok_or_else(|| RegistryError::InvalidLevel(text.to_owned()))
    }
}

/// A version that a new schema is compared with.
pub struct Earlier {
    pub version: i32,
    pub text: String,
    /// Or why it cannot be read.
    pub parsed: Result<ParsedSchema, String>,
}

/// What keeps `new` from standing beside the earlier versions, the oldest first; nothing where it may.
#[must_use]
pub fn incompatibilities(level: CompatibilityLevel, new: &ParsedSchema, earlier: &[Earlier]) -> Vec<String> {
    let count = if level.is_transitive() { earlier.len() } else { 1 };
    for earlier in earlier.iter().rev().take(count) {
        let mut messages = Vec::new();
        match &earlier.parsed {
            Ok(old) => {
                if level.is_backward() {
                    messages = new.unread(old, "new", "old");
                }
                if level.is_forward() {
                    messages.extend(old.unread(new, "old", "new"));
                }
            }
            Err(_) if level == CompatibilityLevel::None => {}
            Err(reason) => messages.push(format!("the earlier schema cannot be read: {reason}")),
        }
        if !messages.is_empty() {
            messages.push(format!("{{oldSchemaVersion: {}}}", earlier.version));
            messages.push(format!("{{oldSchema: '{}'}}", earlier.text));
            messages.push(format!("{{compatibility: '{level}'}}"));
            return messages;
        }
    }
    Vec::new()
}
