//! Files that name plugins, and functions of them.

use super::*;

fn component(path: &str) -> PathBuf {
    manifest_dir().join("../plugins").join(path)
}

const SPLIT: &str = "examples/split-lines/split-lines.wasm";
const SCALAR: &str = "tests/fixtures/scalar.wasm";

#[test]
fn a_plugin_is_loaded_and_its_hash_checked() {
    let wasm = component(SPLIT);
    let wasm = wasm.display();
    let text = format!(
        "version: ottla/v1\nname: lines\ntopics: {{ raw: {{}} }}\nplugins:\n  split: {{ path: {wasm} }}\n\
         transforms:\n  split_lines: {{ from: raw, wasm: {{ plugin: split }}, on_error: {{ to: raw.dlq }} }}\n"
    );
    let pipeline = load_text(&text).unwrap();
    assert!(matches!(pipeline.resolve().stages[0].work, Work::Plugin { .. }));
    let findings = found(&text.replace(" }\ntransforms", ", sha256: abcd }\ntransforms"));
    assert!(findings[0].starts_with("5:10 plugin `split`: its sha256 is "), "{findings:?}");
    let findings = found(&text.replace(" }\ntransforms", ", limits: { memory: 64MB } }\ntransforms"));
    assert!(findings[0].contains("this is no amount of memory (write it as `64MiB`)"), "{findings:?}");
}

#[test]
fn a_plugin_without_a_path_is_the_installed_one() {
    let text = "version: ottla/v1\nname: lines\ntopics: { raw: {} }\nplugins:\n  split: {}\n  decode: { sha256: ab }\n\
                transforms:\n  split_lines: { from: raw, wasm: { plugin: split } }\n";
    assert_eq!(installed_plugins_named(text), ["split", "decode"]);
    let load = |text: &str, names: &[&str], file: &str| {
        let bytes = bytes::Bytes::from(std::fs::read(component(file)).unwrap());
        let installed = InstalledPlugins {
            names: names.iter().map(|name| (*name).to_owned()).collect(),
            components: names.iter().map(|name| ((*name).to_owned(), bytes.clone())).collect(),
        };
        let loaded = Pipeline::from_text_in(Path::new("p.yaml"), text, &no_environment, None, &installed);
        loaded.map_err(|findings| {
            findings
                .into_iter()
                .map(|finding| format!("{} ({:?})", finding.message, finding.help))
                .collect::<Vec<_>>()
        })
    };
    let without_hash = text.replace("  decode: { sha256: ab }\n", "");
    let pipeline = load(&without_hash, &["split"], SPLIT).unwrap();
    assert!(matches!(pipeline.resolve().stages[0].work, Work::Plugin { .. }));
    let findings = load(text, &["splits", "decode"], SPLIT).unwrap_err();
    assert_eq!(findings.len(), 2, "{findings:?}");
    assert_eq!(
        findings[0],
        "the plugin `split` has no `path`, and none of that name is installed (Some(\"did you mean `splits`?\"))"
    );
    assert!(findings[1].starts_with("plugin `decode`: its sha256 is "), "{findings:?}");
    let findings = load(&without_hash, &["split"], SCALAR).unwrap_err();
    assert!(
        findings[0].starts_with("the plugin `split` has functions for SQL, and is no transform"),
        "{findings:?}"
    );
}

#[test]
fn a_path_without_a_value_is_none() {
    let text = "version: ottla/v1\nname: lines\ntopics: { raw: {} }\nplugins:\n  split: { path: }\n\
                transforms:\n  split_lines: { from: raw, wasm: { plugin: split } }\n";
    assert_eq!(installed_plugins_named(text), ["split"]);
    check(text, &["5:3 the plugin `split` has no `path`, and none of that name is installed"]);
}

/// The small pipeline with the functions of the fixture, one of them in its query.
fn with_functions(functions: &str) -> String {
    let scalar = component(SCALAR);
    let section = format!(
        "name: small\nplugins:\n  numbers: {{ path: {} }}\n  lines: {{ path: {} }}\nfunctions:\n{functions}",
        scalar.display(),
        component(SPLIT).display()
    );
    small_with("name: small\n", &section)
        .replace("amount: double?", "amount: int?")
        .replace("SUM(amount)", "SUM(score(amount))")
}

#[test]
fn queries_call_functions_of_plugins() {
    let text = with_functions(
        "  score: { plugin: numbers, function: refuse_negative }\n  SAME: { plugin: numbers }\n",
    );
    let pipeline = load_text(&text).unwrap_or_else(|findings| panic!("{findings:?}"));
    let functions = pipeline.resolve().functions();
    let score = functions["score"];
    assert_eq!(score.signature().to_string(), "refuse_negative(int64) -> int64");
    assert_eq!((functions.len(), score.plugin()), (1, "numbers"));
}

#[test]
fn everything_that_is_wrong_with_functions_is_told_at_once() {
    check(
        &with_functions(
            "  score: { plugin: numbers, function: refuse_negatives }\n  upper: { plugin: numbers, function: same }\n  \
             a-b: { plugin: numbers, function: same }\n  Score: { plugin: numbers }\n  l: { plugin: lines }\n  \
             n: { plugin: number }\n  m: { plugin: numbers }\n  o: { function: same }\n",
        ),
        &[
            "7:39 the plugin `numbers` has no function `refuse_negatives` (did you mean `refuse_negative`?)",
            "8:3 the function `upper` is built in (take another name",
            "9:3 `a-b` is no name that SQL could call",
            "10:3 there are two functions `score` (line 7 has it",
            "11:16 the plugin `lines` is a transform, and has no functions for SQL",
            "12:16 `number` is not declared under `plugins:` (did you mean `numbers`?)",
            "13:3 the plugin `numbers` has no function `m` (there is `same`, `same_text`, ",
            "14:6 `plugin` is missing in `o` of `functions` of this pipeline",
        ],
    );
}

#[test]
fn no_stage_is_left_out_without_a_word() {
    let text = "version: ottla/v1\nname: lines\ntopics: { raw: {} }\ntransforms:\n  a: { sql: }\n  b: { from: raw, wasm: }\n";
    check(
        text,
        &[
            "5:3 the transform `a` says nothing that could run",
            "6:3 the transform `b` says nothing that could run",
        ],
    );
}

#[test]
fn names_are_written_in_the_file() {
    let text = with_functions("  score: { plugin: !env P, function: !env F }\n")
        .replace(
            "name: small\n",
            "name: small\nenv: { P: { default: numbers }, F: { default: same }, OLD: { default: old } }\n",
        )
        .replace("  by_city:\n", "  by_city:\n    to: !env OLD\n    renamed_from: !env OLD\n")
        .replace("    from: by_city", "    from: [!env OLD]")
        .replace("topic: orders,", "topic: !env OLD,");
    let names = found(&text);
    let names = names
        .iter()
        .filter(|finding| finding.contains(" a name that joins parts of the file is written in it"));
    assert_eq!(names.count(), 6, "{:#?}", found(&text));
}
