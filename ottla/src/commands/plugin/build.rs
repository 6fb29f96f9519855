//! `ottla plugin build`: from a project or a core module to a component that a server takes.

use std::path::{Path, PathBuf};

use ottla_plugins::{AnyPlugin, Host, Limits, PluginError, PluginFault, component_of, sha256_hex};
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
    let plugin = open(&stem(&to), &component)?;
    let functions: Vec<String> = plugin.signatures().iter().map(ToString::to_string).collect();
    std::fs::write(&to, &component).map_err(|error| at(&to, &error))?;
    match output {
        Output::Json => print_json(&json!({
            "file": to.display().to_string(),
            "world": plugin.world().id(),
            "functions": functions,
            "bytes": component.len(),
            "sha256": sha256_hex(&component),
        }))?,
        _ => {
            let mut rows = vec![
                vec!["file".to_owned(), to.display().to_string()],
                vec!["world".to_owned(), plugin.world().id().to_owned()],
            ];
            rows.extend(functions.into_iter().map(|function| vec!["function".to_owned(), function]));
            rows.push(vec!["bytes".to_owned(), component.len().to_string()]);
            rows.push(vec!["sha256".to_owned(), sha256_hex(&component)]);
            print_table(&["property", "value"], &rows)?;
        }
    }
    Ok(())
}

/// Starts a component as a server does.
pub(super) fn open(name: &str, component: &[u8]) -> Result<AnyPlugin, Failure> {
    let host = Host::shared().map_err(Failure::failed)?;
    Ok(AnyPlugin::open(&host, name, component, &Limits::default())?)
}

pub(super) fn stem(path: &Path) -> String {
    path.file_stem().unwrap_or(path.as_os_str()).to_string_lossy().into_owned()
}

/// Where a project's component goes.
fn named_after(project: &Path) -> Result<PathBuf, Failure> {
    let whole = std::fs::canonicalize(project).map_err(|error| at(project, &error))?;
    Ok(project.join(whole.file_name().unwrap_or("plugin".as_ref())).with_extension("wasm"))
}
