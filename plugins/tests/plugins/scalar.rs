//! Functions of the world `udf-scalar`: what calls give, and what hostile ones get.

use std::sync::Arc;
use std::time::Duration;

use arrow::array::{Array, ArrayRef, AsArray, Int64Array, StringArray};
use arrow::datatypes::Int64Type;
use ottla_plugins::{
    AnyPlugin, ColumnError, Limits, PluginFault, ScalarPlugin, ValueType, World, sha256_hex, worlds_of,
};

use crate::componentize::{component, component_for, folder, host, load_scalar, released_world, world};

fn integers(values: impl IntoIterator<Item = Option<i64>>) -> ArrayRef {
    Arc::new(values.into_iter().collect::<Int64Array>())
}

/// What a function of the fixture fails with, twice.
fn fault_of(function: &str, column: ArrayRef, limits: &Limits) -> PluginFault {
    let function = load_scalar(limits).unwrap().function(function).unwrap();
    let error = function.call(&[Arc::clone(&column)], column.len()).unwrap_err();
    assert!(error.is_about_a_batch(), "{error}");
    assert_eq!(error.is_refusal(), matches!(error.fault, PluginFault::Refused(_)));
    let again = function.call(&[Arc::clone(&column)], column.len()).unwrap_err();
    let kinds = (std::mem::discriminant(&again.fault), std::mem::discriminant(&error.fault));
    assert_eq!(kinds.0, kinds.1, "a spare takes over: {again}");
    error.fault
}

#[test]
fn a_plugin_tells_its_functions() {
    let plugin = load_scalar(&Limits::default()).unwrap();
    let told: Vec<String> = plugin.signatures().iter().take(2).map(ToString::to_string).collect();
    assert_eq!(told, ["same(int64) -> int64", "same_text(utf8) -> utf8"]);
    assert!(plugin.function("other").is_none());
    assert_eq!(plugin.function("same_text").unwrap().signature().returns, ValueType::Utf8);
}

#[test]
fn columns_of_any_length_come_back_with_their_nulls() {
    let plugin = load_scalar(&Limits::default()).unwrap();
    let (same, same_text) = (plugin.function("same").unwrap(), plugin.function("same_text").unwrap());
    for rows in [0, 1, 7, 64, 65, 20_000] {
        let column = integers((0..rows).map(|row| (row % 3 != 0).then_some(row - 5)));
        assert_eq!(&same.call(&[Arc::clone(&column)], column.len()).unwrap(), &column);
        let texts =
            (0..rows).map(|row| (row % 5 != 0).then(|| "é".repeat(usize::try_from(row % 9).unwrap())));
        let column: ArrayRef = Arc::new(texts.collect::<StringArray>());
        assert_eq!(&same_text.call(&[Arc::clone(&column)], column.len()).unwrap(), &column);
    }
}

#[test]
fn more_bytes_than_an_instance_holds_go_in_parts() {
    let limits = Limits { memory_bytes: 8 << 20, ..Limits::default() };
    let same_text = load_scalar(&limits).unwrap().function("same_text").unwrap();
    let column: ArrayRef = Arc::new(StringArray::from(vec!["x".repeat(10_000); 2_000]));
    assert_eq!(&same_text.call(&[Arc::clone(&column)], column.len()).unwrap(), &column);
}

#[test]
fn several_threads_call_at_once() {
    let same = load_scalar(&Limits::default()).unwrap().function("same").unwrap();
    std::thread::scope(|scope| {
        for number in 0..6 {
            let same = same.clone();
            scope.spawn(move || {
                for _ in 0..50 {
                    let answer = same.call(&[integers([Some(number)])], 1).unwrap();
                    assert_eq!(answer.as_primitive::<Int64Type>().value(0), number);
                }
            });
        }
    });
}

#[test]
fn a_refusal_carries_the_plugins_own_words() {
    let fault = fault_of("refuse_negative", integers([Some(1), Some(-1)]), &Limits::default());
    assert!(matches!(&fault, PluginFault::Refused(reason) if reason == "a value is less than 0"), "{fault}");
}

#[test]
fn a_trap_fails_its_batch_only() {
    let limits = Limits { warm_instances: 1, ..Limits::default() };
    let fault = fault_of("trap_negative", integers([Some(-1)]), &limits);
    assert!(matches!(&fault, PluginFault::Trap(reason) if reason.contains("unreachable")), "{fault}");
    let function = load_scalar(&limits).unwrap().function("trap_negative").unwrap();
    assert!(function.call(&[integers([Some(-1)])], 1).is_err());
    assert!(function.call(&[integers([Some(1)])], 1).is_ok());
}

#[test]
fn an_endless_loop_is_interrupted() {
    let (call_deadline, record_deadline) = (Duration::from_millis(30), Duration::ZERO);
    let limits = Limits { call_deadline, record_deadline, ..Limits::default() };
    let fault = fault_of("spin_negative", integers([Some(-1)]), &limits);
    assert!(matches!(fault, PluginFault::Deadline { budget_ms: 30 }), "{fault}");
}

#[test]
fn memory_beyond_the_limit_is_refused_by_name() {
    let fault = fault_of("grow", integers([Some(1)]), &Limits { memory_bytes: 4 << 20, ..Limits::default() });
    assert!(matches!(fault, PluginFault::Memory { memory_bytes } if memory_bytes == 4 << 20), "{fault}");
}

#[test]
fn an_answer_that_is_no_column_of_the_batch_is_refused() {
    let text: ArrayRef = Arc::new(StringArray::from(vec!["a"]));
    let fault = fault_of("wrong_type", text, &Limits::default());
    assert!(matches!(fault, PluginFault::OutputColumn(ColumnError::Type { code: 4, .. })), "{fault}");
    let fault = fault_of("short", integers([Some(1), Some(2)]), &Limits::default());
    assert!(matches!(fault, PluginFault::OutputColumn(ColumnError::Short(_))), "{fault}");
    let fault = fault_of("amplify", integers([Some(1)]), &Limits::default());
    assert!(matches!(fault, PluginFault::OutputBytes { bytes: 33_554_432, .. }), "{fault}");
}

#[test]
fn a_list_of_functions_that_cannot_be_read_is_refused_at_load() {
    let wat = std::fs::read_to_string(folder().join("tests/fixtures/scalar.wat")).unwrap();
    let path = tempfile::tempdir().unwrap();
    let path = path.path().join("bad.wat");
    std::fs::write(&path, wat.replace("same(int64)", "same[int64)")).unwrap();
    let component = component_for(path.to_str().unwrap(), &released_world("udf-scalar"));
    let error = ScalarPlugin::open(&host(), "bad", &component, &Limits::default()).unwrap_err();
    let expected =
        "plugin `bad`: what its `functions` gives is no list of functions: line 1 is `same[int64) -> int64`";
    assert!(error.to_string().starts_with(expected), "{error}");
}

#[test]
fn a_component_tells_its_world() {
    let scalar = component_for("scalar", &released_world("udf-scalar"));
    assert_eq!(worlds_of(&host(), &scalar).unwrap(), [World::UdfScalar]);
    assert_eq!(worlds_of(&host(), &component("identity")).unwrap(), [World::Transform]);
    let error = ScalarPlugin::open(&host(), "it", &component("identity"), &Limits::default()).unwrap_err();
    assert!(error.to_string().contains("it does not export `functions` as func() -> string"), "{error}");
    let other = world("package test:fixture; world w { export convert: func() -> u32; }");
    let fault = worlds_of(&host(), &component_for("no-export", &other)).unwrap_err();
    assert!(matches!(fault, PluginFault::WrongExport { .. }), "{fault}");
}

#[test]
fn a_component_of_any_world_is_opened_as_what_it_is() {
    let open = |component: &[u8], sha256: Option<&str>| {
        AnyPlugin::open_checked(&host(), "it", component, sha256, &Limits::default())
    };
    let scalar = component_for("scalar", &released_world("udf-scalar"));
    let functions = open(&scalar, Some(&sha256_hex(&scalar))).unwrap();
    assert_eq!((functions.world(), functions.sha256()), (World::UdfScalar, sha256_hex(&scalar).as_str()));
    assert_eq!(functions.signatures()[0].to_string(), "same(int64) -> int64");
    let transform = open(&component("identity"), None).unwrap();
    assert_eq!((transform.world(), transform.signatures().len()), (World::Transform, 0));
    let error = open(&scalar, Some("00")).unwrap_err();
    assert!(error.to_string().starts_with("plugin `it`: its sha256 is "), "{error}");
    let limits = Limits { component_bytes_max: 10, ..Limits::default() };
    let error = AnyPlugin::open(&host(), "it", &scalar, &limits).unwrap_err();
    assert!(error.to_string().contains("more than the 10 allowed for a component"), "{error}");
}

/// Other crates' tests take the component, since they cannot make it.
#[test]
fn the_component_beside_the_fixture_is_what_it_makes() {
    let made = component_for("scalar", &released_world("udf-scalar"));
    let path = folder().join("tests/fixtures/scalar.wasm");
    if std::env::var_os("OTTLA_BLESS").is_some() {
        std::fs::write(&path, &made).unwrap();
    }
    assert!(std::fs::read(path).unwrap() == made, "bless tests/fixtures/scalar.wasm anew");
}
