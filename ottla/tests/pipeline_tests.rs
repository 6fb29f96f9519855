//! The example pipelines' own tests, as a user runs them, and how a test that fails is told.

mod support;

use std::path::PathBuf;

use support::{ottla, root, text};

fn example(name: &str) -> PathBuf {
    root().join("pipelines").join(name).join("pipeline.yaml")
}

#[test]
fn the_tests_of_every_example_pass() {
    for name in ["flights", "orders", "sensors", "weblog"] {
        let output = ottla().args(["pipeline", "test", "-o", "json"]).arg(example(name)).output().unwrap();
        assert!(output.status.success(), "{name}: {}", text(&output));
        let told: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!(told["failed"], 0);
        assert!(told["tests"].as_array().is_some_and(|tests| !tests.is_empty()), "{told}");
    }
}

#[test]
fn what_is_wrong_with_a_file_is_told_to_programs_too() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("pipeline.yaml");
    std::fs::write(&file, "version: ottla/v1\nname: p\nsink: {}\n").unwrap();
    let output = ottla().args(["pipeline", "validate", "-o", "json"]).arg(&file).output().unwrap();
    assert_eq!(output.status.code(), Some(2), "{}", text(&output));
    let told: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((&told["valid"], &told["findings"][0]["line"]), (&false.into(), &3.into()), "{told}");
}

#[test]
fn a_test_that_fails_is_told_with_its_place_and_what_is_nearest() {
    let folder = tempfile::tempdir().unwrap();
    let changed = std::fs::read_to_string(example("flights"))
        .unwrap()
        .replace("flights: 2, cancelled: 1", "flights: 3, cancelled: 1");
    let line = 1 + changed.lines().position(|line| line.contains("flights: 3, cancelled: 1")).unwrap();
    let file = folder.path().join("pipeline.yaml");
    std::fs::write(&file, changed).unwrap();
    let output = ottla().args(["pipeline", "test"]).arg(&file).output().unwrap();
    assert_eq!(output.status.code(), Some(1), "{}", text(&output));
    let told = text(&output);
    assert!(
        told.contains(&format!("pipeline.yaml:{line}:11: error: `hourly_departures` has no such row")),
        "{told}"
    );
    assert!(told.contains("the nearest has `flights`: 2, not 3"), "{told}");
    assert!(told.contains("0 passed, 1 failed"), "{told}");
}
