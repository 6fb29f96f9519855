//! From WebAssembly text or a core module to a component, and to a loaded plugin.

use std::path::{Path, PathBuf};

use ottla_plugins::{Host, Limits, Plugin, PluginError, ScalarPlugin};
use wit_component::{ComponentEncoder, StringEncoding, embed_component_metadata};
use wit_parser::{Resolve, WorldId};

pub fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).to_owned()
}

/// The released world, as its file says.
pub fn released_world(name: &str) -> (Resolve, WorldId) {
    let path = folder().join("wit/ottla-v1").join(name).with_extension("wit");
    world(&std::fs::read_to_string(path).unwrap())
}

pub fn transform_world() -> (Resolve, WorldId) {
    released_world("transform")
}

/// The one world of a WIT text.
pub fn world(text: &str) -> (Resolve, WorldId) {
    let mut resolve = Resolve::default();
    let package = resolve.push_str("world.wit", text).unwrap();
    let world = resolve.select_world(&[package], None).unwrap();
    (resolve, world)
}

/// The component of a fixture, for a world.
pub fn component_for(fixture: &str, (resolve, world): &(Resolve, WorldId)) -> Vec<u8> {
    let mut module =
        wat::parse_file(folder().join("tests/fixtures").join(fixture).with_extension("wat")).unwrap();
    embed_component_metadata(&mut module, resolve, *world, StringEncoding::UTF8).unwrap();
    component_of(&module)
}

/// The core module of a fixture, which says which world it is of as those of the SDKs do.
pub fn module_of_sdk(fixture: &str, world: &str) -> Vec<u8> {
    let text = std::fs::read_to_string(folder().join("tests/fixtures").join(fixture).with_extension("wat"));
    let said = format!("(module (@custom \"component-type:ottla-plugin-1.0-{world}\" \"\")");
    wat::parse_str(text.unwrap().replacen("(module", &said, 1)).unwrap()
}

/// The component of a core module that carries its world's type.
pub fn component_of(module: &[u8]) -> Vec<u8> {
    ComponentEncoder::default().module(module).unwrap().validate(true).encode().unwrap()
}

pub fn component(fixture: &str) -> Vec<u8> {
    component_for(fixture, &transform_world())
}

/// A plugin from bytes, on a host without a cache.
pub fn load_bytes(name: &str, bytes: &[u8], limits: &Limits) -> Result<Plugin, PluginError> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("plugin.wasm");
    std::fs::write(&path, bytes).unwrap();
    Plugin::load_on(&host(), name, &path, None, limits)
}

/// A plugin from a fixture.
pub fn load(fixture: &str, limits: &Limits) -> Result<Plugin, PluginError> {
    load_bytes(fixture, &component(fixture), limits)
}

/// The plugin of the fixture `scalar`.
pub fn load_scalar(limits: &Limits) -> Result<ScalarPlugin, PluginError> {
    let component = component_for("scalar", &released_world("udf-scalar"));
    ScalarPlugin::open(&host(), "scalar", &component, limits)
}

/// One host for all tests: each reserves address space for its pool.
pub fn host() -> Host {
    static HOST: std::sync::OnceLock<Host> = std::sync::OnceLock::new();
    HOST.get_or_init(|| Host::new(None).unwrap()).clone()
}
