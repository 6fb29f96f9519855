//! `ottla plugin …` as a process, without any compiler.

mod support;

use std::io::Write;
use std::path::Path;
use std::process::{Output, Stdio};

use support::{ottla, root, text};

fn plugin(folder: &Path, words: &[&str], input: &str) -> Output {
    let mut command = ottla();
    command.arg("plugin").args(words).current_dir(folder);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    // One that fails early may not read.
    let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
    child.wait_with_output().unwrap()
}

fn stdout(output: &Output) -> String {
    assert!(output.status.success(), "{}", text(output));
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn example(name: &str) -> String {
    root().join("plugins/examples").join(name).join(name).with_extension("wasm").display().to_string()
}

#[test]
fn records_go_through_a_transform_and_come_out() {
    let folder = tempfile::tempdir().unwrap();
    let split_lines = example("split-lines");
    let words = ["test", &split_lines, "--key-separator", "#", "--batch", "2", "--repeat", "3"];
    let output = plugin(folder.path(), &words, "k# a \n# nothing\nb");
    assert_eq!(stdout(&output), "k\ta\n\tnothing\nb\n");
    assert!(text(&output).contains("3 records in, 3 out, "), "{}", text(&output));
    let output = plugin(folder.path(), &["test", &split_lines, "-o", "json"], "x");
    let lines: Vec<serde_json::Value> =
        stdout(&output).lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines[0]["value"], "x");
    assert_eq!((&lines[1]["summary"]["records"], &lines[1]["summary"]["outputs"]), (&1.into(), &1.into()));
}

#[test]
fn rows_go_through_a_function_and_what_it_refuses_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let functions = example("text-functions");
    let call = |function: &str, input: &str| {
        plugin(folder.path(), &["test", &functions, "--function", function], input)
    };
    assert_eq!(stdout(&call("mask", "[\"écru\", 2]\n[null, 1]\n")), "\"éc**\"\nnull\n");
    assert_eq!(stdout(&call("start_of_day", "[86400001]")), "86400000\n");
    assert_eq!(stdout(&call("parity", "[\"\\u0001\", false]")), "true\n");
    for (function, input, code, expected) in [
        ("distance_km", "[95.0, 0, 0, 0]", 1, "it refused the batch: 95 is no latitude"),
        ("mask", "[1, 1]", 2, "1 is no utf8, argument 1"),
        ("mask", "[\"a\"]", 2, "line 1 of the input: 1 arguments, and mask(utf8, int64) -> utf8 takes 2"),
        ("mask", "a", 2, "line 1 of the input: "),
        ("musk", "", 2, "there is no function `musk`; there are mask(utf8, int64) -> utf8, "),
    ] {
        let output = call(function, input);
        assert_eq!(output.status.code(), Some(code), "{}", text(&output));
        assert!(text(&output).contains(expected), "{}", text(&output));
    }
    let output = plugin(folder.path(), &["test", &functions], "");
    assert!(text(&output).contains("name one with --function: mask, url_host"), "{}", text(&output));
}

#[test]
fn a_component_is_checked_and_told_by_build() {
    let folder = tempfile::tempdir().unwrap();
    let functions = example("text-functions");
    let output = plugin(folder.path(), &["build", &functions, "--to", "copy.wasm", "-o", "json"], "");
    let told: serde_json::Value = serde_json::from_str(&stdout(&output)).unwrap();
    assert_eq!(told["world"], "ottla:plugin/udf-scalar@1.0.0");
    assert_eq!(told["functions"][0], "mask(utf8, int64) -> utf8");
    let copy = std::fs::read(folder.path().join("copy.wasm")).unwrap();
    assert_eq!(told["bytes"], copy.len());
    assert_eq!(told["sha256"], ottla_plugins::sha256_hex(&copy));

    std::fs::write(folder.path().join("core.wasm"), b"\0asm\x01\0\0\0").unwrap();
    std::fs::write(folder.path().join("text.wasm"), "no module").unwrap();
    for (path, code, expected) in [
        ("core.wasm", 1, "a core module that does not say of which world"),
        ("text.wasm", 1, "its first bytes are not those of WebAssembly"),
        ("nowhere", 2, "nowhere has no Cargo.toml and no package.json"),
    ] {
        let output = plugin(folder.path(), &["build", path], "");
        assert_eq!(output.status.code(), Some(code), "{}", text(&output));
        assert!(text(&output).contains(expected), "{}", text(&output));
    }
}

#[test]
fn a_new_project_is_whole_and_replaces_nothing() {
    let folder = tempfile::tempdir().unwrap();
    for (name, language, world, files) in [
        ("a", "rust", "transform", ["Cargo.toml", "src/lib.rs", "ottla-plugin/src/scalar.rs"]),
        ("b", "rust", "udf-scalar", ["Cargo.toml", "src/lib.rs", "ottla-plugin/Cargo.toml"]),
        ("c", "js", "transform", ["package.json", "plugin.js", "ottla.js"]),
        ("d", "js", "udf-scalar", ["package.json", "plugin.js", "wit/udf-scalar.wit"]),
    ] {
        stdout(&plugin(folder.path(), &["new", name, "--language", language, "--world", world], ""));
        for file in files {
            assert!(folder.path().join(name).join(file).is_file(), "{name}/{file}");
        }
    }
    let package = std::fs::read_to_string(folder.path().join("d/package.json")).unwrap();
    assert!(
        package.contains("\"name\": \"d\"") && package.contains("\"world\": \"udf-scalar\""),
        "{package}"
    );
    let again = plugin(folder.path(), &["new", "a"], "");
    assert!(text(&again).contains("a is there already"), "{}", text(&again));
    let wrong = plugin(folder.path(), &["new", "A_b"], "");
    assert_eq!(wrong.status.code(), Some(2));
}

#[test]
fn a_compiler_that_is_not_there_is_told_with_what_to_install() {
    let folder = tempfile::tempdir().unwrap();
    stdout(&plugin(folder.path(), &["new", "js", "--language", "js"], ""));
    let mut command = ottla();
    command.args(["plugin", "build", "js"]).current_dir(folder.path()).env("PATH", folder.path());
    let output = command.output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(
        text(&output).contains("there is no Node.js here") && text(&output).contains("install"),
        "{}",
        text(&output)
    );
}
