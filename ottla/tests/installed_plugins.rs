//! Plugins that are installed on a server: checked, listed with what uses them, there after kill -9, and used by functions and
//! pipelines without a path.

mod support;

use std::path::Path;
use std::process::Output;

use serde_json::{Value, json};
use support::serving::{expect, post, produce, server};
use support::{ottla, root, text};

fn run(http: &str, folder: &Path, words: &[&str]) -> Output {
    let http = format!("http://{http}");
    ottla().current_dir(folder).args(words).args(["--http", &http]).output().unwrap()
}

fn json_of(http: &str, folder: &Path, words: &[&str]) -> Value {
    let output = run(http, folder, &[words, &["-o", "json"]].concat());
    assert!(output.status.success(), "{words:?}: {}", text(&output));
    serde_json::from_slice(&output.stdout).unwrap()
}

/// It must fail with these words and this exit code.
fn refused(http: &str, folder: &Path, words: &[&str], code: i32, expected: &str) {
    let output = run(http, folder, words);
    assert_eq!(output.status.code(), Some(code), "{words:?}: {}", text(&output));
    assert!(text(&output).contains(expected), "{words:?}: {}", text(&output));
}

const PIPELINE: &str = "\
version: ottla/v1
name: lines
topics: { raw: {} }
plugins: { split: {} }
transforms:
  words: { from: raw, wasm: { plugin: split } }
tests:
  - { name: a line is trimmed, given: { raw: [' a '] }, expect: { words: [a] } }
";

#[test]
fn a_plugin_is_there_by_its_name_until_nothing_uses_it() {
    let dir = tempfile::tempdir().unwrap();
    let (folder, data) = (dir.path(), dir.path().join("data"));
    let examples = root().join("plugins/examples");
    let split = folder.join("split.wasm");
    std::fs::copy(examples.join("split-lines/split-lines.wasm"), &split).unwrap();
    let functions = folder.join("text-functions.wasm");
    std::fs::copy(examples.join("text-functions/text-functions.wasm"), &functions).unwrap();
    std::fs::write(folder.join("broken.wasm"), "no component").unwrap();
    std::fs::write(folder.join("pipeline.yaml"), PIPELINE).unwrap();
    let (mut running, _, http) = server(&data);

    // Only what a server can use is taken.
    assert_eq!(json_of(&http, folder, &["plugin", "list"]), json!([]));
    let broken = ["plugin", "install", "broken.wasm"];
    refused(
        &http,
        folder,
        &broken,
        2,
        "error: broken.wasm: plugin `broken`: this is no WebAssembly component",
    );
    refused(&http, folder, &["plugin", "install", "gone.wasm"], 2, "cannot read gone.wasm");
    let dotted = ["plugin", "install", "split.wasm", "--name", "split.wasm"];
    refused(&http, folder, &dotted, 2, "`split.wasm` is no name of a plugin");
    let validate = ["pipeline", "validate", "pipeline.yaml"];
    refused(
        &http,
        folder,
        &validate,
        2,
        "the plugin `split` has no `path`, and none of that name is installed",
    );
    let sql = "CREATE FUNCTION mask(t STRING, keep INT) RETURNS STRING LANGUAGE wasm AS 'text-functions'";
    assert_eq!(post(&http, sql).0, 400, "it is not installed yet");

    let installed = json_of(&http, folder, &["plugin", "install", "split.wasm"]);
    assert_eq!((&installed["name"], &installed["world"]), (&json!("split"), &json!("transform")));
    let installed = json_of(&http, folder, &["plugin", "install", "text-functions.wasm"]);
    assert_eq!(installed["world"], "udf-scalar");
    assert!(installed["functions"].to_string().contains("mask(utf8, int64) -> utf8"), "{installed}");
    let (status, made) = post(&http, sql);
    assert_eq!(status, 200, "{made}");

    // Without the files, and after a kill.
    std::fs::remove_file(&split).unwrap();
    running.kill();
    let (mut running, kafka, http) = server(&data);
    let tested = json_of(&http, folder, &["pipeline", "test", "pipeline.yaml"]);
    assert_eq!(tested["failed"], 0, "{tested}");
    json_of(&http, folder, &["pipeline", "apply", "pipeline.yaml"]);
    produce(&kafka, "raw", &["k#one"]);
    expect(&http, "SELECT _value FROM words", "{\"_value\":\"one\"}\n");
    running.kill();
    let (_running, kafka, http) = server(&data);
    produce(&kafka, "raw", &["k#two"]);
    let both = "{\"_value\":\"one\"}\n{\"_value\":\"two\"}\n";
    expect(&http, "SELECT _value FROM words ORDER BY _value", both);
    let all = json_of(&http, folder, &["plugin", "list"]);
    assert_eq!(
        (&all[0]["name"], &all[0]["used_by"]),
        (&json!("split"), &json!([{"kind": "pipeline", "name": "lines"}]))
    );
    assert_eq!(all[1]["used_by"], json!([{"kind": "function", "name": "mask"}]));
    let listed = text(&run(&http, folder, &["plugin", "list"]));
    assert!(listed.contains("udf-scalar") && listed.contains("pipeline lines"), "{listed}");

    // What is used stays what it is.
    refused(
        &http,
        folder,
        &["plugin", "uninstall", "split"],
        1,
        "the plugin `split` is used by pipeline lines",
    );
    let other = ["plugin", "install", "text-functions.wasm", "--name", "split"];
    refused(&http, folder, &other, 1, "the plugin `split` is used by pipeline lines");
    let uninstall = ["plugin", "uninstall", "text-functions"];
    refused(&http, folder, &uninstall, 1, "is used by function mask; drop what uses it first");
    refused(
        &http,
        folder,
        &["plugin", "uninstall", "spilt"],
        1,
        "no plugin `spilt` is installed; did you mean `split`?",
    );
    assert_eq!(post(&http, "DROP FUNCTION mask").0, 200);
    assert!(run(&http, folder, &["pipeline", "delete", "lines"]).status.success());
    let output = run(&http, folder, &["plugin", "uninstall", "split", "text-functions"]);
    assert!(output.status.success(), "{}", text(&output));
    assert_eq!(json_of(&http, folder, &["plugin", "list"]), json!([]));
    refused(
        &http,
        folder,
        &["pipeline", "apply", "pipeline.yaml"],
        2,
        "4:12: error: the plugin `split` has no `path`",
    );
}

#[test]
fn what_cannot_be_used_keeps_nothing_else_from_running() {
    let dir = tempfile::tempdir().unwrap();
    let (folder, data) = (dir.path(), dir.path().join("data"));
    let examples = root().join("plugins/examples");
    for name in ["split-lines", "text-functions"] {
        std::fs::copy(examples.join(format!("{name}/{name}.wasm")), folder.join(format!("{name}.wasm")))
            .unwrap();
    }
    std::fs::write(folder.join("pipeline.yaml"), PIPELINE).unwrap();
    let (mut running, kafka, http) = server(&data);
    json_of(&http, folder, &["plugin", "install", "split-lines.wasm", "--name", "split"]);
    let functions = json_of(&http, folder, &["plugin", "install", "text-functions.wasm"]);
    json_of(&http, folder, &["pipeline", "apply", "pipeline.yaml"]);
    // A record that is none of ours, and a function that is not what its module has.
    produce(&kafka, "ottla-plugins", &["plugin:strange#no JSON"]);
    let sql = "CREATE FUNCTION mask(t STRING) RETURNS STRING LANGUAGE wasm AS 'text-functions'";
    let kept = json!({ "name": "mask", "sql": sql, "module": functions["sha256"] });
    produce(&kafka, "ottla-sql", &[&format!("mask#{kept}")]);
    running.kill();

    let (mut running, kafka, http) = server(&data);
    produce(&kafka, "raw", &["k#one"]);
    expect(&http, "SELECT _value FROM words", "{\"_value\":\"one\"}\n");
    let all = json_of(&http, folder, &["plugin", "list"]);
    assert_eq!(all.as_array().unwrap().len(), 2, "{all}");
    // Its module is there still, for when the function can be started.
    let uninstall = ["plugin", "uninstall", "text-functions"];
    refused(&http, folder, &uninstall, 1, "is used by function mask");
    assert_eq!(post(&http, "SELECT mask('a') AS a").0, 400);
    let (status, dropped) = post(&http, "DROP FUNCTION mask");
    assert_eq!((status, dropped.trim()), (200, "{\"done\":\"FUNCTION mask dropped\"}"));
    assert!(run(&http, folder, &uninstall).status.success());
    running.kill();
    let (_running, _, http) = server(&data);
    let all = json_of(&http, folder, &["plugin", "list"]);
    assert_eq!((all[0]["name"].as_str(), all.as_array().unwrap().len()), (Some("split"), 1), "{all}");
    assert_eq!(post(&http, "DROP FUNCTION mask").0, 400, "it is not there any more");
}
