//! What is refused at load, and in which words.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use arrow::array::{ArrayRef, Int64Array};
use ottla_plugins::{
    CacheDir, Host, Limits, MEMORY_MAX_BYTES, Plugin, PluginFault, Record, ScalarPlugin, sha256_hex,
};

use crate::componentize::{component, component_for, host, load, load_bytes, module_of_sdk, world};

#[test]
fn a_missing_file_is_told_with_its_path() {
    let error = Plugin::load_on(&host(), "ghost", Path::new("nowhere/ghost.wasm"), None, &Limits::default())
        .unwrap_err();
    assert!(error.to_string().starts_with("plugin `ghost`: cannot read nowhere/ghost.wasm: "), "{error}");
    assert!(!error.is_about_a_batch());
}

#[test]
fn another_hash_than_asked_for_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("identity.wasm");
    let bytes = component("identity");
    std::fs::write(&path, &bytes).unwrap();
    let right = sha256_hex(&bytes);
    let plugin =
        Plugin::load_on(&host(), "it", &path, Some(&right.to_uppercase()), &Limits::default()).unwrap();
    assert_eq!(plugin.sha256(), right);
    let error = Plugin::load_on(&host(), "it", &path, Some("00"), &Limits::default()).unwrap_err();
    assert_eq!(error.to_string(), format!("plugin `it`: its sha256 is {right}, but 00 was asked for"));
}

#[test]
fn a_core_module_is_told_apart_from_a_component() {
    let error = load_bytes("core", &wat::parse_str("(module)").unwrap(), &Limits::default()).unwrap_err();
    assert!(error.to_string().contains("it is a core module; wrap it"), "{error}");
    let error = load_bytes("text", b"#!/bin/sh", &Limits::default()).unwrap_err();
    assert!(error.to_string().contains("its first bytes are not those of WebAssembly"), "{error}");
    let error = load_bytes("cut", &component("identity")[..100], &Limits::default()).unwrap_err();
    assert!(matches!(error.fault, PluginFault::NotAComponent(_)), "{error}");
}

#[test]
fn a_component_above_the_size_limit_is_refused_before_it_is_compiled() {
    let limits = Limits { component_bytes_max: 100, ..Limits::default() };
    let error = load("identity", &limits).unwrap_err();
    assert!(matches!(error.fault, PluginFault::ComponentTooLarge { bytes_max: 100, .. }), "{error}");
}

#[test]
fn an_import_is_refused_by_name() {
    let world = world(
        "package test:fixture; world w { import now: func() -> u64; export transform: func(batch: list<u8>) -> result<list<u8>, string>; }",
    );
    let error =
        load_bytes("clock", &component_for("forbidden-import", &world), &Limits::default()).unwrap_err();
    assert_eq!(error.to_string(), "plugin `clock`: it imports `now`, but a plugin may import nothing");
}

#[test]
fn a_wrong_export_is_told_with_what_was_expected() {
    let strings = world("package test:fixture; world w { export transform: func(batch: string) -> string; }");
    let error =
        load_bytes("strings", &component_for("wrong-export", &strings), &Limits::default()).unwrap_err();
    let expected = "plugin `strings`: it does not export `transform` as func(batch: list<u8>) -> result<list<u8>, string>: \
                    its parameter is not a list<u8>";
    assert_eq!(error.to_string(), expected);

    let other = world("package test:fixture; world w { export convert: func() -> u32; }");
    let error = load_bytes("other", &component_for("no-export", &other), &Limits::default()).unwrap_err();
    assert!(error.to_string().ends_with(": it exports `convert`"), "{error}");
}

#[test]
fn a_start_that_does_not_end_is_interrupted() {
    let limits = Limits { start_deadline: Duration::from_millis(20), ..Limits::default() };
    let error = load("spin-at-start", &limits).unwrap_err();
    assert!(
        matches!(&error.fault, PluginFault::Start(reason) if reason.contains("20 ms of CPU time")),
        "{error}"
    );
}

#[test]
fn more_memory_than_the_host_grants_is_refused_before_anything_starts() {
    let error =
        load("identity", &Limits { memory_bytes: MEMORY_MAX_BYTES + 1, ..Limits::default() }).unwrap_err();
    assert!(matches!(error.fault, PluginFault::LimitTooHigh { limit: "memory", .. }), "{error}");
}

#[test]
fn a_core_module_of_an_sdk_becomes_a_component_of_its_world() {
    let component = ottla_plugins::component_of(&module_of_sdk("identity", "transform")).unwrap();
    let plugin = Plugin::open(&host(), "identity", &component, &Limits::default()).unwrap();
    for _ in 0..2 {
        assert_eq!(plugin.transform().call(&[Record::default()]).unwrap(), [Record::default()]);
    }
    let component = ottla_plugins::component_of(&module_of_sdk("scalar", "udf-scalar")).unwrap();
    let plugin = ScalarPlugin::open(&host(), "scalar", &component, &Limits::default()).unwrap();
    let column: ArrayRef = Arc::new(Int64Array::from(vec![Some(1), None]));
    let same = plugin.function("same").unwrap();
    for _ in 0..2 {
        assert_eq!(&same.call(&[Arc::clone(&column)], 2).unwrap(), &column);
    }
    // One that says it is of a world and has nothing of it.
    let component = ottla_plugins::component_of(&module_of_sdk("scalar", "transform")).unwrap();
    let error = Plugin::open(&host(), "other", &component, &Limits::default()).unwrap_err();
    assert!(
        matches!(&error.fault, PluginFault::NotAComponent(reason) if reason.contains("transform")),
        "{error}"
    );
}

#[test]
fn a_second_host_takes_the_compiled_plugin_from_the_cache() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("identity.wasm");
    std::fs::write(&path, component("identity")).unwrap();
    let cache = folder.path().join("cache");
    for _ in 0..2 {
        let host = Host::new(Some(CacheDir::open(&cache).unwrap())).unwrap();
        let plugin = Plugin::load_on(&host, "cached", &path, None, &Limits::default()).unwrap();
        assert_eq!(plugin.transform().call(&[Record::default()]).unwrap(), [Record::default()]);
        assert_eq!(
            std::fs::read_dir(&cache).unwrap().count(),
            1,
            "one compiled plugin and no unfinished file"
        );
    }
}
