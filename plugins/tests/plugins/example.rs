//! The Rust examples and the SDK: what is checked in beside the source is what the source makes.
//!
//! `OTTLA_BLESS=1` writes the checked-in files anew, where the toolchain is there.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, BinaryArray, BooleanArray, Float64Array, Int64Array, StringArray,
    TimestampMillisecondArray,
};
use bytes::Bytes;
use ottla_plugins::{Limits, PluginFault, Record, RecordHeader, ScalarPlugin, sha256_hex};
use wit_component::StringEncoding;

use crate::componentize::{component_of, folder, host, load_bytes, released_world};

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

/// An example, by the name of its folder and its component.
#[derive(Clone, Copy)]
struct Example {
    name: &'static str,
    world: &'static str,
    check: fn(&[u8]),
}

const EXAMPLES: [Example; 2] = [
    Example { name: "split-lines", world: "transform", check: check_split_lines },
    Example { name: "text-functions", world: "udf-scalar", check: check_text_functions },
];

impl Example {
    fn folder(self) -> PathBuf {
        folder().join("examples").join(self.name)
    }

    fn fixture(self) -> PathBuf {
        self.folder().join(self.name).with_extension("wasm")
    }
}

fn blessing() -> bool {
    std::env::var_os("OTTLA_BLESS").is_some()
}

/// All that decides what the example's bytes are: its source, the SDK's, and the world.
fn source_sha256(example: Example) -> String {
    let Example { name, world, .. } = example;
    let files = [
        &format!("examples/{name}/Cargo.toml"),
        &format!("examples/{name}/src/lib.rs"),
        "sdk/rust/Cargo.toml",
        "sdk/rust/src/abi.rs",
        "sdk/rust/src/frame.rs",
        "sdk/rust/src/lib.rs",
        "sdk/rust/src/scalar.rs",
        &format!("sdk/rust/src/{world}.component-type"),
        &format!("wit/ottla-v1/{world}.wit"),
    ];
    let mut all = Vec::new();
    for file in files {
        let bytes = std::fs::read(folder().join(file)).unwrap();
        all.extend_from_slice(format!("{file} {}\n", bytes.len()).as_bytes());
        all.extend_from_slice(&bytes);
    }
    sha256_hex(&all)
}

fn lock(example: Example) -> FixtureLock {
    serde_json::from_slice(&std::fs::read(example.folder().join("fixture.lock.json")).unwrap()).unwrap()
}

/// Builds the example from source, or says what is missing for it.
fn build(example: Example) -> Result<Vec<u8>, String> {
    for (path, package) in [("/usr/bin/cargo", "cargo-web"), ("/usr/bin/wasm-ld-19", "lld-19")] {
        if !Path::new(path).exists() {
            return Err(format!("Debian's {package} is not installed"));
        }
    }
    if !std_source_is_there() {
        return Err("Debian's rust-web-src is not installed".to_owned());
    }
    // One folder for all that stays: the standard library is most of the work, and the same each time.
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).join("examples");
    let output = Command::new("/usr/bin/cargo")
        .args(["build", "--release", "--target", "wasm32-unknown-unknown", "-Zbuild-std=std,panic_abort"])
        .current_dir(example.folder())
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
    assert!(output.status.success(), "the example {} does not build:\n{stderr}", example.name);
    let module = format!("wasm32-unknown-unknown/release/{}.wasm", example.name.replace('-', "_"));
    Ok(component_of(&std::fs::read(target.join(module)).unwrap()))
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

fn check_split_lines(component: &[u8]) {
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

fn check_text_functions(component: &[u8]) {
    let plugin = ScalarPlugin::open(&host(), "text-functions", component, &Limits::default()).unwrap();
    let signatures: Vec<String> = plugin.signatures().iter().map(ToString::to_string).collect();
    assert_eq!(
        signatures,
        [
            "mask(utf8, int64) -> utf8",
            "url_host(utf8) -> utf8",
            "distance_km(float64, float64, float64, float64) -> float64",
            "first_of(utf8, utf8) -> utf8",
            "parity(binary, boolean) -> boolean",
            "start_of_day(timestamp) -> timestamp",
        ]
    );
    let texts = |texts: &[Option<&str>]| Arc::new(StringArray::from(texts.to_vec())) as ArrayRef;
    let call = |function: &str, columns: &[ArrayRef]| {
        plugin.function(function).unwrap().call(columns, columns[0].len())
    };
    let addresses = [
        Some("https://me@example.org:8080/a?b"),
        None,
        Some("no address"),
        Some("http:///"),
        Some("ftp://é.example"),
    ];
    let hosts = call("url_host", &[texts(&addresses)]).unwrap();
    assert_eq!(&hosts, &texts(&[Some("example.org"), None, None, None, Some("é.example")]));
    let keep: ArrayRef = Arc::new(Int64Array::from(vec![Some(2), Some(1), None]));
    let masked = call("mask", &[texts(&[Some("écru"), Some(""), Some("abc")]), keep]).unwrap();
    assert_eq!(&masked, &texts(&[Some("éc**"), Some(""), None]));
    let first =
        call("first_of", &[texts(&[None, Some("a"), None]), texts(&[Some("b"), None, None])]).unwrap();
    assert_eq!(&first, &texts(&[Some("b"), Some("a"), None]));
    let bytes: ArrayRef = Arc::new(BinaryArray::from_iter([Some(&b"\x01"[..]), Some(b"\x03"), None]));
    let seeds: ArrayRef = Arc::new(BooleanArray::from(vec![false, false, true]));
    let parities: ArrayRef = Arc::new(BooleanArray::from(vec![Some(true), Some(false), None]));
    assert_eq!(&call("parity", &[bytes, seeds]).unwrap(), &parities);
    let times = |times: Vec<i64>| -> ArrayRef {
        Arc::new(TimestampMillisecondArray::from(times).with_timezone("UTC"))
    };
    assert_eq!(
        &call("start_of_day", &[times(vec![86_400_001, -1])]).unwrap(),
        &times(vec![86_400_000, -86_400_000])
    );
    let degrees = |degrees: f64| Arc::new(Float64Array::from(vec![degrees])) as ArrayRef;
    let newark_kennedy = [40.6925, -74.1687, 40.6398, -73.7789].map(degrees);
    let distance = call("distance_km", &newark_kennedy).unwrap();
    let distance = distance.as_primitive::<arrow::datatypes::Float64Type>().value(0);
    assert!((33.0..34.0).contains(&distance), "{distance}");
    let refused = call("distance_km", &[95.0, 0.0, 0.0, 0.0].map(degrees)).unwrap_err();
    assert!(
        matches!(&refused.fault, PluginFault::Refused(reason) if reason == "95 is no latitude"),
        "{refused}"
    );
}

#[test]
fn the_sdk_carries_the_types_of_the_worlds() {
    for example in EXAMPLES {
        let (resolve, world) = released_world(example.world);
        let encoded = wit_component::metadata::encode(&resolve, world, StringEncoding::UTF8, None).unwrap();
        let path = folder().join("sdk/rust/src").join(example.world).with_extension("component-type");
        if blessing() {
            std::fs::write(&path, &encoded).unwrap();
        }
        assert!(std::fs::read(&path).unwrap() == encoded, "{} is not that of its world", path.display());
    }
}

#[test]
fn the_fixtures_were_made_from_the_sources_beside_them() {
    if blessing() {
        return; // `the_examples_work_as_built_from_source` writes them.
    }
    for example in EXAMPLES {
        let lock = lock(example);
        assert_eq!(
            lock.source_sha256,
            source_sha256(example),
            "the source of {} has changed since the fixture was built: bless it anew",
            example.name
        );
        let fixture = std::fs::read(example.fixture()).unwrap();
        assert_eq!(lock.output_sha256, sha256_hex(&fixture));
        assert_eq!(lock.command, COMMAND);
        assert!(fixture.len() <= FIXTURE_BYTES_MAX, "{} bytes", fixture.len());
    }
}

#[test]
fn the_examples_work_as_they_were_built_before() {
    if !blessing() {
        EXAMPLES.iter().for_each(|example| (example.check)(&std::fs::read(example.fixture()).unwrap()));
    }
}

#[test]
fn the_examples_work_as_built_from_source() {
    for example in EXAMPLES {
        let component = match build(example) {
            Ok(component) => component,
            Err(reason) => {
                println!(
                    "SKIPPED building {} from source: {reason}. The fixture beside it stands for it.",
                    example.name
                );
                return;
            }
        };
        (example.check)(&component);
        if blessing() {
            let tools =
                [("rustc", "/usr/bin/rustc"), ("cargo", "/usr/bin/cargo"), ("linker", "/usr/bin/wasm-ld-19")];
            let lock = FixtureLock {
                source_sha256: source_sha256(example),
                output_sha256: sha256_hex(&component),
                command: COMMAND.to_owned(),
                tools: tools.into_iter().map(|(name, tool)| (name.to_owned(), version(tool))).collect(),
            };
            std::fs::write(example.fixture(), &component).unwrap();
            std::fs::write(
                example.folder().join("fixture.lock.json"),
                serde_json::to_string_pretty(&lock).unwrap() + "\n",
            )
            .unwrap();
        }
    }
}
