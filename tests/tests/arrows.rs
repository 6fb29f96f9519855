//! The map of ARCHITECTURE.md, checked: which crate may use which, and who may use the dependencies that take minutes.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

/// Folder, and which of our crates it may use. `ottla` and `tests` may use everything.
const MAP: &[(&str, &[&str])] = &[
    ("protocol", &[]),
    ("client", &["protocol"]),
    ("formats", &["client"]),
    ("broker", &["protocol", "client"]),
    ("plugins", &[]),
    ("connect", &["client", "formats", "plugins"]),
    ("streams", &["client", "formats", "plugins"]),
    ("pipelines", &["client", "formats", "connect", "streams", "plugins"]),
];
const UNRESTRICTED: &[&str] = &["ottla", "tests"];
/// Dependencies whose build takes minutes, and who may have them.
const HEAVY: &[(&str, &[&str])] = &[("datafusion", &["streams"]), ("wasmtime", &["plugins"])];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("tests/ lies in the workspace")
}

/// Every dependency of a crate: plain, dev and build.
fn dependencies(folder: &str) -> Vec<String> {
    let path = root().join(folder).join("Cargo.toml");
    let text = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let manifest: toml::Table = text.parse().unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let names = |kind: &str| -> Vec<String> {
        let table = manifest.get(kind).and_then(toml::Value::as_table);
        table.map(|table| table.keys().cloned().collect()).unwrap_or_default()
    };
    ["dependencies", "dev-dependencies", "build-dependencies"].into_iter().flat_map(names).collect()
}

fn members() -> Vec<String> {
    let text = fs::read_to_string(root().join("Cargo.toml")).expect("the workspace has a manifest");
    let manifest: toml::Table = text.parse().expect("it is TOML");
    manifest["workspace"]["members"]
        .as_array()
        .expect("members is a list")
        .iter()
        .map(|member| member.as_str().expect("of names").to_owned())
        .collect()
}

#[test]
fn every_crate_is_on_the_map() {
    let mapped: Vec<&str> =
        MAP.iter().map(|(folder, _)| *folder).chain(UNRESTRICTED.iter().copied()).collect();
    for member in members() {
        assert!(mapped.contains(&member.as_str()), "{member} is not on the map of tests/tests/arrows.rs");
    }
}

#[test]
fn arrows_point_down_the_map_only() {
    let allowed: BTreeMap<&str, &[&str]> = MAP.iter().copied().collect();
    for (folder, allowed) in allowed {
        for dependency in dependencies(folder) {
            if let Some(other) = dependency.strip_prefix("ottla-") {
                assert!(allowed.contains(&other), "{folder} may not use {other}");
            }
        }
    }
}

#[test]
fn heavy_dependencies_stay_where_they_are_needed() {
    for (heavy, owners) in HEAVY {
        for member in members().iter().filter(|member| !owners.contains(&member.as_str())) {
            let found = dependencies(member).iter().any(|dependency| dependency == heavy);
            assert!(!found, "{member} may not use {heavy}");
        }
    }
}
