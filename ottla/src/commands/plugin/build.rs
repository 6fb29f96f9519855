//! `ottla plugin build`: from a project or a core module to a component that a server takes.

use std::path::{Path, PathBuf};

use ottla_plugins::{
    Host, Limits, Plugin, PluginError, PluginFault, ScalarPlugin, Transform, World, component_of, sha256_hex,
    worlds_of,
};
use serde_json::json;

use super::{at, toolchain};
use crate::cli::Output;
use crate::failure::Failure;
use crate::output::{print_json, print_table};

pub(super) fn run(path: &Path, to: Option<PathBuf>, output: Output) -> Result<(), Failure> {
    let (module, default_to) = if path.is_file() {
        (path.to_owned(), path.to_owned())
    } else if path.join("Cargo.toml").is_file() {
        (toolchain::rust_module(path)?, named_after(path)?)
    } else if path.join("package.json").is_file() {
        (toolchain::js_component(path)?, named_after(path)?)
    } else {
        return Err(Failure::wrong_words(format!(
            "{} has no Cargo.toml and no package.json; `ottla plugin new NAME` writes a project",
            path.display()
        )));
    };
    let to = to.unwrap_or(default_to);
    let bytes = std::fs::read(&module).map_err(|error| at(&module, &error))?;
    let wrong = |fault: PluginFault| Failure::failed(PluginError { plugin: stem(&to), fault });
    let component = component_of(&bytes).map_err(wrong)?;
    let checked = check(&stem(&to), &component)?;
    std::fs::write(&to, &component).map_err(|error| at(&to, &error))?;
    match output {
        Output::Json => print_json(&json!({
            "file": to.display().to_string(),
            "world": checked.world.id(),
            "functions": checked.functions,
            "bytes": component.len(),
            "sha256": sha256_hex(&component),
        }))?,
        _ => {
            let mut rows = vec![
                vec!["file".to_owned(), to.display().to_string()],
                vec!["world".to_owned(), checked.world.id().to_owned()],
            ];
            rows.extend(checked.functions.into_iter().map(|function| vec!["function".to_owned(), function]));
            rows.push(vec!["bytes".to_owned(), component.len().to_string()]);
            rows.push(vec!["sha256".to_owned(), sha256_hex(&component)]);
            print_table(&["property", "value"], &rows)?;
        }
    }
    Ok(())
}

/// What a component is for.
struct Checked {
    world: World,
    /// The signatures of its functions.
    functions: Vec<String>,
}

/// Starts a component as a server does.
fn check(name: &str, component: &[u8]) -> Result<Checked, Failure> {
    let functions = match open(name, component)? {
        Started::Transform(_) => return Ok(Checked { world: World::Transform, functions: Vec::new() }),
        Started::Functions(plugin) => plugin.signatures().iter().map(ToString::to_string).collect(),
    };
    Ok(Checked { world: World::UdfScalar, functions })
}

/// A component at work.
pub(super) enum Started {
    Transform(Transform),
    Functions(ScalarPlugin),
}

/// Starts a component with the limits of a server.
pub(super) fn open(name: &str, component: &[u8]) -> Result<Started, Failure> {
    let limits = Limits::default();
    let host = Host::shared().map_err(Failure::failed)?;
    let worlds = worlds_of(&host, component)
        .map_err(|fault| Failure::failed(PluginError { plugin: name.to_owned(), fault }))?;
    Ok(match worlds.first() {
        Some(World::UdfScalar) => Started::Functions(ScalarPlugin::open(&host, name, component, &limits)?),
        _ => Started::Transform(Plugin::open(&host, name, component, &limits)?.transform()),
    })
}

pub(super) fn stem(path: &Path) -> String {
    path.file_stem().unwrap_or(path.as_os_str()).to_string_lossy().into_owned()
}

/// Where a project's component goes.
fn named_after(project: &Path) -> Result<PathBuf, Failure> {
    let whole = std::fs::canonicalize(project).map_err(|error| at(project, &error))?;
    Ok(project.join(whole.file_name().unwrap_or("plugin".as_ref())).with_extension("wasm"))
}
