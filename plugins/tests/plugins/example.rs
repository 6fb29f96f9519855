//! The Rust example and the SDK: what is checked in beside the source is what the source makes.
//!
//! `OTTLA_BLESS=1` writes the checked-in files anew, where the toolchain is there.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use bytes::Bytes;
use ottla_plugins::{Limits, PluginFault, Record, RecordHeader, sha256_hex};
use wit_component::StringEncoding;

use crate::componentize::{component_of, folder, load_bytes, transform_world};

const COMMAND: &str = "PATH=/usr/bin:/bin RUSTC_BOOTSTRAP=1 CARGO_TARGET_WASM32_UNKNOWN_UNKNOWN_LINKER=wasm-ld-19 \
                       cargo build --release --target wasm32-unknown-unknown -Zbuild-std=std,panic_abort";
const FIXTURE_BYTES_MAX: usize = 150 << 10;

/// What a prebuilt fixture was made from, and how.
#[derive(Debug, PartialEq, serde::Serialize, serde::Deserialize)]
struct FixtureLock {
    /// Of each source file's path and bytes, in order of paths.
    source_sha256: String,
    output_sha256: String,
    command: String,
    tools: BTreeMap<String, String>,
}

fn example() -> PathBuf {
    folder().join("examples/split-lines")
}

fn blessing() -> bool {
    std::env::var_os("OTTLA_BLESS").is_some()
}

/// All that decides what the example's bytes are: its source, the SDK's, and the world.
fn source_sha256() -> String {
    let files = [
        "examples/split-lines/Cargo.toml",
        "examples/split-lines/src/lib.rs",
        "sdk/rust/Cargo.toml",
        "sdk/rust/src/abi.rs",
        "sdk/rust/src/frame.rs",
        "sdk/rust/src/lib.rs",
        "sdk/rust/src/transform.component-type",
        "wit/ottla-v1/transform.wit",
    ];
    let mut all = Vec::new();
    for file in files {
        let bytes = std::fs::read(folder().join(file)).unwrap();
        all.extend_from_slice(format!("{file} {}\n", bytes.len()).as_bytes());
        all.extend_from_slice(&bytes);
    }
    sha256_hex(&all)
}

fn lock() -> FixtureLock {
    serde_json::from_slice(&std::fs::read(example().join("fixture.lock.json")).unwrap()).unwrap()
}

/// Builds the example from source, or says what is missing for it.
fn build() -> Result<Vec<u8>, String> {
    for (path, package) in [("/usr/bin/cargo", "cargo-web"), ("/usr/bin/wasm-ld-19", "lld-19")] {
        if !Path::new(path).exists() {
            return Err(format!("Debian's {package} is not installed"));
        }
    }
    if !std_source_is_there() {
        return Err("Debian's rust-web-src is not installed".to_owned());
    }
    // A folder of its own that stays: the standard library is most of the work, and the same each time.
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).join("split-lines");
    let output = Command::new("/usr/bin/cargo")
        .args(["build", "--release", "--target", "wasm32-unknown-unknown", "-Zbuild-std=std,panic_abort"])
        .current_dir(example())
        .env_clear()
        .env("HOME", std::env::var_os("HOME").unwrap_or_default())
        .env("PATH", "/usr/bin:/bin")
        .env("RUSTC_BOOTSTRAP", "1")
        .env("CARGO_TARGET_WASM32_UNKNOWN_UNKNOWN_LINKER", "wasm-ld-19")
        .env("CARGO_TARGET_DIR", &target)
        .output()
        .map_err(|reason| reason.to_string())?;
    let stderr = String::from_utf8_lossy(&output.stderr);
    // The standard library's own dependencies come from the registry the first time.
    for reason in ["failed to download", "failed to get", "Could not resolve", "unable to update registry"] {
        if !output.status.success() && stderr.contains(reason) {
            return Err(format!("the registry does not answer: {stderr}"));
        }
    }
    assert!(output.status.success(), "the example does not build:\n{stderr}");
    let module = std::fs::read(target.join("wasm32-unknown-unknown/release/split_lines.wasm")).unwrap();
    Ok(component_of(&module))
}

/// The standard library is built too, from its source.
fn std_source_is_there() -> bool {
    let folders = std::fs::read_dir("/usr/src").into_iter().flatten().flatten();
    folders.into_iter().any(|folder| folder.path().join("library/std").is_dir())
}

fn version(tool: &str) -> String {
    let output = Command::new(tool).arg("--version").output().unwrap();
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

fn check_behaviour(component: &[u8]) {
    let transform = load_bytes("split-lines", component, &Limits::default()).unwrap().transform();
    let headers = vec![RecordHeader { name: "trace".to_owned(), value: Some(Bytes::from_static(b"7")) }];
    let record = |source, value: Option<&'static str>| Record {
        source,
        timestamp_ms: -5,
        key: Some(Bytes::from_static(b"k")),
        value: value.map(|value| Bytes::from_static(value.as_bytes())),
        headers: headers.clone(),
    };
    let answer = transform
        .call(&[
            record(0, Some("JFK 1\n\n  LGA 2  \r\n# EWR\n")),
            record(0, None),
            record(0, Some("")),
            record(0, Some("last")),
        ])
        .unwrap();
    let expected =
        [record(0, Some("JFK 1")), record(0, Some("LGA 2")), record(1, None), record(3, Some("last"))];
    assert_eq!(answer, expected);

    let bad = Record { value: Some(Bytes::from_static(b"\xff")), ..Record::default() };
    let error = transform.call(&[bad]).unwrap_err();
    assert!(matches!(&error.fault, PluginFault::Refused(reason) if reason.contains("not UTF-8")), "{error}");
    assert_eq!(transform.call(&[]).unwrap(), []);
}

#[test]
fn the_sdk_carries_the_type_of_the_world() {
    let (resolve, world) = transform_world();
    let encoded = wit_component::metadata::encode(&resolve, world, StringEncoding::UTF8, None).unwrap();
    let path = folder().join("sdk/rust/src/transform.component-type");
    if blessing() {
        std::fs::write(&path, &encoded).unwrap();
    }
    assert!(std::fs::read(path).unwrap() == encoded, "transform.component-type is not that of transform.wit");
}

#[test]
fn the_fixture_was_made_from_the_source_beside_it() {
    if blessing() {
        return; // `the_example_works_as_built_from_source` writes it.
    }
    let lock = lock();
    assert_eq!(
        lock.source_sha256,
        source_sha256(),
        "the source has changed since the fixture was built: bless it anew"
    );
    let fixture = std::fs::read(example().join("split-lines.wasm")).unwrap();
    assert_eq!(lock.output_sha256, sha256_hex(&fixture));
    assert_eq!(lock.command, COMMAND);
    assert!(fixture.len() <= FIXTURE_BYTES_MAX, "{} bytes", fixture.len());
}

#[test]
fn the_example_works_as_it_was_built_before() {
    if !blessing() {
        check_behaviour(&std::fs::read(example().join("split-lines.wasm")).unwrap());
    }
}

#[test]
fn the_example_works_as_built_from_source() {
    let component = match build() {
        Ok(component) => component,
        Err(reason) => {
            println!(
                "SKIPPED building the example from source: {reason}. The fixture beside it stands for it."
            );
            return;
        }
    };
    check_behaviour(&component);
    if blessing() {
        let tools =
            [("rustc", "/usr/bin/rustc"), ("cargo", "/usr/bin/cargo"), ("linker", "/usr/bin/wasm-ld-19")];
        let lock = FixtureLock {
            source_sha256: source_sha256(),
            output_sha256: sha256_hex(&component),
            command: COMMAND.to_owned(),
            tools: tools.into_iter().map(|(name, tool)| (name.to_owned(), version(tool))).collect(),
        };
        std::fs::write(example().join("split-lines.wasm"), &component).unwrap();
        std::fs::write(
            example().join("fixture.lock.json"),
            serde_json::to_string_pretty(&lock).unwrap() + "\n",
        )
        .unwrap();
    }
}
