//! The `plugins:` section: each component is loaded, so that a wrong hash, world or limit is told before
//! anything runs.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use ottla_plugins::{Host, Limits, Plugin};

use crate::check::shape::{Substitutes, json_of};
use crate::check::values::starts_at_file;
use crate::diagnostic::Findings;
use crate::yaml::Node;

/// Loaded plugins by name.
pub type Plugins = BTreeMap<String, Plugin>;

/// Loads what the section names. What cannot be loaded is told and left out.
pub fn load(root: &Node, folder: &Path, substitutes: &Substitutes, findings: &mut Findings) -> Plugins {
    let mut plugins = Plugins::new();
    for entry in root.get("plugins").map(Node::entries).unwrap_or_default() {
        let node = &entry.value;
        let limits = limits(node, substitutes, findings);
        let Some(path) = node.get("path").and_then(|path| path_of(path, folder, substitutes)) else {
            continue;
        };
        let sha256 = node.get("sha256").map(|sha256| json_of(sha256, substitutes));
        let sha256 = sha256.as_ref().and_then(serde_json::Value::as_str);
        let loaded = Host::shared().and_then(|host| {
            Plugin::load_on(&host, &entry.key, &path, sha256, &limits).map_err(|error| error.to_string())
        });
        match loaded {
            Ok(plugin) => {
                plugins.insert(entry.key.clone(), plugin);
            }
            Err(reason) => findings.error(node.at, reason),
        }
    }
    plugins
}

/// The path that a node gives: a relative one in the file starts at the file's folder.
pub fn path_of(node: &Node, folder: &Path, substitutes: &Substitutes) -> Option<PathBuf> {
    let value = json_of(node, substitutes);
    let path = PathBuf::from(value.as_str()?);
    Some(if starts_at_file(node, substitutes) { folder.join(path) } else { path })
}

fn limits(node: &Node, substitutes: &Substitutes, findings: &mut Findings) -> Limits {
    let mut limits = Limits::default();
    let Some(section) = node.get("limits") else { return limits };
    let text = |name: &str| section.get(name).map(|node| (node, json_of(node, substitutes)));
    if let Some((node, value)) = text("memory") {
        match value.as_str().and_then(parse_bytes) {
            Some(bytes) => limits.memory_bytes = bytes,
            None => findings.error_with_help(node.at, "this is no amount of memory", "write it as `64MiB`"),
        }
    }
    if let Some((node, value)) = text("deadline") {
        match value.as_str().and_then(parse_duration) {
            Some(deadline) => {
                limits.call_deadline = deadline;
                limits.call_deadline_max = limits.call_deadline_max.max(deadline);
            }
            None => findings.error_with_help(node.at, "this is no time", "write it as `100ms` or `2s`"),
        }
    }
    limits
}

fn split_unit(text: &str) -> Option<(u64, &str)> {
    let text = text.trim();
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at_checked(digits)?;
    Some((number.parse().ok()?, unit.trim()))
}

/// `64MiB`, `512 KiB`, `1GiB`, `1000`.
fn parse_bytes(text: &str) -> Option<usize> {
    let (number, unit) = split_unit(text)?;
    let factor: u64 = match unit {
        "" | "B" => 1,
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        "GiB" => 1 << 30,
        _ => return None,
    };
    usize::try_from(number.checked_mul(factor)?).ok()
}

/// `100ms`, `2s`.
fn parse_duration(text: &str) -> Option<Duration> {
    let (number, unit) = split_unit(text)?;
    match unit {
        "ms" => Some(Duration::from_millis(number)),
        "s" => Some(Duration::from_secs(number)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_are_read_with_their_units() {
        assert_eq!(parse_bytes("64MiB"), Some(64 << 20));
        assert_eq!(parse_bytes(" 1 GiB "), Some(1 << 30));
        assert_eq!(parse_bytes("64MB"), None);
        assert_eq!(parse_bytes("99999999999999999999MiB"), None);
        assert_eq!(parse_bytes("18446744073709551615GiB"), None);
        assert_eq!(parse_duration("100ms"), Some(Duration::from_millis(100)));
        assert_eq!(parse_duration("2s"), Some(Duration::from_secs(2)));
        assert_eq!(parse_duration("2"), None);
        assert_eq!(parse_duration("ms"), None);
    }
}
