//! The `functions:` section: functions of plugins that the file's queries may call, each with the arguments and the result that
//! its component says.

use std::collections::{BTreeMap, BTreeSet};

use ottla_plugins::AnyPlugin;
use ottla_streams::UserFunction;
use ottla_streams::planner::is_builtin_function;

use crate::check::plugins::Plugins;
use crate::check::wiring::check_reference;
use crate::diagnostic::{Findings, suggestion};
use crate::yaml::{Entry, Node};

/// The functions of a file.
#[derive(Debug, Default)]
pub struct Functions {
    /// Those that can be called.
    pub loaded: Vec<UserFunction>,
    /// Names of others, in lower case, of which it has been told why they cannot.
    pub broken: BTreeSet<String>,
}

/// Takes the functions from their plugins. What cannot be called is told.
pub fn load(root: &Node, plugins: &Plugins, findings: &mut Findings) -> Functions {
    let mut functions = Functions::default();
    let mut taken: BTreeMap<String, u32> = BTreeMap::new();
    for entry in root.get("functions").map(Node::entries).unwrap_or_default() {
        // As SQL looks it up.
        let name = entry.key.to_ascii_lowercase();
        if let Some(first) = taken.insert(name.clone(), entry.key_at.line) {
            let help = format!("line {first} has it; names of functions are not case-sensitive");
            findings.error_with_help(entry.key_at, format!("there are two functions `{name}`"), help);
            continue;
        }
        match load_one(root, entry, &name, plugins, findings) {
            Some(function) => functions.loaded.push(function),
            None => {
                functions.broken.insert(name);
            }
        }
    }
    functions
}

fn load_one(
    root: &Node,
    entry: &Entry,
    name: &str,
    plugins: &Plugins,
    findings: &mut Findings,
) -> Option<UserFunction> {
    let faults_before = findings.count();
    let is_name = name.starts_with(|first: char| first.is_ascii_lowercase() || first == '_')
        && name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_');
    if !is_name {
        let message = format!("`{name}` is no name that SQL could call");
        findings.error_with_help(entry.key_at, message, "a letter or _, then letters, digits and _");
    } else if is_builtin_function(name) {
        let message = format!("the function `{name}` is built in");
        findings.error_with_help(entry.key_at, message, "take another name, and say `function: …`");
    }
    let plugin_node = entry.value.get("plugin")?;
    let plugin_name = plugin_node.text()?;
    check_reference(root, "plugins", plugin_name, plugin_node, findings);
    // Of one that could not be loaded, it has been told why.
    let plugin = match plugins.get(plugin_name)? {
        AnyPlugin::Scalar(plugin) => plugin,
        AnyPlugin::Transform(_) => {
            let message = format!("the plugin `{plugin_name}` is a transform, and has no functions for SQL");
            findings.error(plugin_node.at, message);
            return None;
        }
    };
    let signatures = plugin.signatures();
    let asked = entry.value.get("function");
    let wanted = match (asked.and_then(Node::text), signatures) {
        (Some(function), _) => function,
        // A plugin of one function need not call it as SQL does.
        (None, [only]) => &only.name,
        (None, _) => name,
    };
    let Some(function) = plugin.function(wanted) else {
        let at = asked.map_or(entry.key_at, |node| node.at);
        let nearest = suggestion(wanted, signatures.iter().map(|function| function.name.as_str()));
        findings.error_maybe_help(
            at,
            format!("the plugin `{plugin_name}` has no function `{wanted}`"),
            nearest,
        );
        return None;
    };
    (findings.count() == faults_before).then(|| UserFunction::new(name, plugin.sha256(), function))
}
