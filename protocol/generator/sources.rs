//! Reads all notation files of the package and makes all modules of `src/messages/`, as text not yet formatted.

use std::path::Path;

use crate::{emit, notation};

/// The notation files, by name.
pub fn read(package: &Path) -> Result<Vec<(String, notation::File)>, String> {
    let folder = package.join("messages");
    let entries = std::fs::read_dir(&folder).map_err(|error| format!("{}: {error}", folder.display()))?;
    let mut paths: Vec<_> = entries.flatten().map(|entry| entry.path()).collect();
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "msg"));
    paths.sort();
    let mut files = Vec::new();
    for path in paths {
        let failed = |reason: String| format!("{}: {reason}", path.display());
        let text = std::fs::read_to_string(&path).map_err(|error| failed(error.to_string()))?;
        let stem = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        let file = notation::parse(&text).map_err(failed)?;
        if file.api.as_ref().is_some_and(|api| !stem.starts_with(&format!("{:02}_", api.key))) {
            return Err(failed("the file's name does not begin with its API key".to_owned()));
        }
        files.push((stem, file));
    }
    Ok(files)
}

/// File name and text of every generated module.
pub fn generate(package: &Path) -> Result<Vec<(String, String)>, String> {
    let files = read(package)?;
    let modules = files
        .iter()
        .map(|(stem, file)| (format!("{}.rs", emit::module_name(stem)), emit::module(stem, file)));
    let mut generated: Vec<_> = modules.collect();
    generated.push(("mod.rs".to_owned(), emit::index(&files)));
    Ok(generated)
}
