//! The `plugins:` section: each component is loaded, so that a wrong hash, world or limit is told before
//! anything runs.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use ottla_plugins::{AnyPlugin, Host, Limits, World};

use crate::check::shape::{Substitutes, json_of};
use crate::check::units::{parse_bytes, parse_duration};
use crate::check::values::starts_at_file;
use crate::diagnostic::{Findings, suggestion};
use crate::yaml::{Entry, Node, Value};

/// Loaded plugins by name.
pub type Plugins = BTreeMap<String, AnyPlugin>;

/// The plugins of the server that a file is for, which the file may name without a path.
#[derive(Clone, Debug, Default)]
pub struct InstalledPlugins {
    /// All names.
    pub names: Vec<String>,
    /// The components that the file asks for.
    pub components: BTreeMap<String, Bytes>,
}

/// The path that a plugin of the file has; one without is the server's. A word without a value says nothing, as everywhere.
pub fn path_given(plugin: &Node) -> Option<&Node> {
    plugin.get("path").filter(|path| path.value != Value::Null)
}

/// Loads what the section names, and sees that transforms name such as transform. What cannot be loaded is told and left out.
pub fn load(
    root: &Node,
    folder: &Path,
    installed: &InstalledPlugins,
    substitutes: &Substitutes,
    findings: &mut Findings,
) -> Plugins {
    let mut plugins = Plugins::new();
    for entry in root.get("plugins").map(Node::entries).unwrap_or_default() {
        if let Some(plugin) = load_one(entry, folder, installed, substitutes, findings) {
            plugins.insert(entry.key.clone(), plugin);
        }
    }
    for transform in root.get("transforms").map(Node::entries).unwrap_or_default() {
        let Some(named) = transform.value.get("wasm").and_then(|wasm| wasm.get("plugin")) else { continue };
        let Some(name) = named.text() else { continue };
        if let Some(World::UdfScalar) = plugins.get(name).map(AnyPlugin::world) {
            let message = format!("the plugin `{name}` has functions for SQL, and is no transform");
            findings.error_with_help(named.at, message, "declare what it has under `functions:`");
        }
    }
    plugins
}

fn load_one(
    entry: &Entry,
    folder: &Path,
    installed: &InstalledPlugins,
    substitutes: &Substitutes,
    findings: &mut Findings,
) -> Option<AnyPlugin> {
    let (name, node) = (&entry.key, &entry.value);
    let limits = limits(node, substitutes, findings);
    let sha256 = node.get("sha256").map(|sha256| json_of(sha256, substitutes));
    let sha256 = sha256.as_ref().and_then(serde_json::Value::as_str);
    let component = match path_given(node) {
        Some(path) => Err(path_of(path, folder, substitutes)?),
        None => match installed.components.get(name) {
            Some(component) => Ok(component),
            None => {
                let message =
                    format!("the plugin `{name}` has no `path`, and none of that name is installed");
                let nearest = suggestion(name, installed.names.iter().map(String::as_str));
                let help = || "give its `path`, or install it with `ottla plugin install`".to_owned();
                findings.error_with_help(entry.key_at, message, nearest.unwrap_or_else(help));
                return None;
            }
        },
    };
    let loaded = Host::shared().and_then(|host| {
        let loaded = match &component {
            Ok(component) => AnyPlugin::open_checked(&host, name, component, sha256, &limits),
            Err(path) => AnyPlugin::load_on(&host, name, path, sha256, &limits),
        };
        loaded.map_err(|error| error.to_string())
    });
    loaded.map_err(|reason| findings.error(node.at, reason)).ok()
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
