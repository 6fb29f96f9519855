//! Files that name plugins.

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
