//! The `plugins:` section: each component is loaded, so that a wrong hash, world or limit is told before
//! anything runs.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use ottla_plugins::{Host, Limits, Plugin};

use crate::check::shape::{Substitutes, json_of};
use crate::check::units::{parse_bytes, parse_duration};
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
