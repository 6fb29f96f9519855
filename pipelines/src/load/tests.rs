//! Whole files through all checks: what is found, where, and in which words.

use std::path::{Path, PathBuf};

use proptest::prelude::*;

use super::*;
use crate::resolve::{ErrorPolicy, Work};

mod plugins;
mod renames;

fn manifest_dir() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn no_environment(_: &str) -> Option<String> {
    None
}

fn flights_text() -> String {
    std::fs::read_to_string(manifest_dir().join("flights/pipeline.yaml")).unwrap()
}

fn load_text(text: &str) -> Result<Pipeline, Vec<Diagnostic>> {
    Pipeline::from_text(Path::new("p/pipeline.yaml"), text, &no_environment)
}

/// The findings of a text, each as `line:column message (help)`; warnings are marked.
fn found(text: &str) -> Vec<String> {
    let findings = match load_text(text) {
        Ok(pipeline) => pipeline.warnings,
        Err(findings) => findings,
    };
    let tell = |finding: Diagnostic| {
        let at = finding.position.map(|at| format!("{}:{} ", at.line, at.column)).unwrap_or_default();
        let help = finding.help.map(|help| format!(" ({help})")).unwrap_or_default();
        let warning = if finding.severity == crate::Severity::Warning { "warning: " } else { "" };
        format!("{at}{warning}{}{help}", finding.message)
    };
    findings.into_iter().map(tell).collect()
}

/// The findings must start so, one for one.
fn check(text: &str, expected: &[&str]) {
    let found = found(text);
    let fits = found.len() == expected.len()
        && found.iter().zip(expected).all(|(found, expected)| found.starts_with(expected));
    assert!(fits, "found:\n{}\nexpected:\n{}", found.join("\n"), expected.join("\n"));
}

#[test]
fn the_flights_example_is_right_and_resolves_to_what_it_says() {
    let path = manifest_dir().join("flights/pipeline.yaml");
    let pipeline = Pipeline::load(&path, &no_environment).unwrap_or_else(|findings| {
        panic!("{}", findings.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))
    });
    let resolved = pipeline.resolve();
    let stages: Vec<_> = resolved
        .stages
        .iter()
        .map(|stage| (stage.id.as_str(), stage.work.word(), stage.upstreams.clone()))
        .collect();
    let expected = [
        ("flights.flights_csv", "source", vec![]),
        ("flights.hourly_departures", "query", vec![0]),
        ("flights.to_sqlite", "sink", vec![1]),
    ];
    assert_eq!(stages, expected);
    let topics: Vec<_> =
        resolved.topics.iter().map(|topic| (topic.name.as_str(), topic.partitions)).collect();
    assert_eq!(topics, [("flights", 4), ("flights.dlq", 1), ("hourly_departures", 1)]);
    assert!(
        resolved
            .stages
            .iter()
            .all(|stage| stage.on_error == ErrorPolicy::DeadLetter { topic: "flights.dlq".to_owned() })
    );

    let Work::Source { config, schema, .. } = &resolved.stages[0].work else { panic!("{resolved:?}") };
    let csv = PathBuf::from(config["path"].as_str().unwrap());
    assert_eq!(
        csv,
        manifest_dir().join("flights/data/flights-2013-01.csv"),
        "a default starts at the file's folder"
    );
    let columns: Vec<_> =
        schema.as_ref().unwrap().fields().iter().map(|field| field.name().as_str()).collect();
    assert_eq!(
        columns,
        ["origin", "dest", "carrier", "flight", "time_hour", "dep_time", "dep_delay"],
        "in the order of the file"
    );
    let Work::Sink { config, schemas, .. } = &resolved.stages[2].work else { panic!("{resolved:?}") };
    assert_eq!(config["path"], "flights.db", "relative to the working directory");
    let columns: Vec<_> =
        schemas["hourly_departures"].fields().iter().map(|field| field.name().as_str()).collect();
    let expected = [
        "origin",
        "window_start",
        "window_end",
        "flights",
        "cancelled",
        "delayed",
        "avg_dep_delay",
        "max_dep_delay",
    ];
    assert_eq!(columns, expected);
    assert!(
        pipeline.warnings.iter().any(|warning| warning.message.contains("grows with the number of groups")),
        "{:?}",
        pipeline.warnings
    );
    assert_eq!(pipeline.tests.len(), 1);
}

#[test]
fn the_flights_data_is_january_in_the_order_of_the_year() {
    let text = std::fs::read_to_string(manifest_dir().join("flights/data/flights-2013-01.csv")).unwrap();
    let mut lines = text.lines();
    assert!(lines.next().unwrap().starts_with("year,month,day,dep_time,"));
    assert!(lines.clone().all(|line| line.starts_with("2013,1,")));
    assert_eq!(lines.count(), 27_004);
}

#[test]
fn the_sensors_plugin_was_made_from_the_source_beside_it() {
    let file = |name: &str| std::fs::read(manifest_dir().join("sensors/decode").join(name)).unwrap();
    let mut source = Vec::new();
    for name in ["Cargo.toml", "src/lib.rs"] {
        let bytes = file(name);
        source.extend_from_slice(format!("{name} {}\n", bytes.len()).as_bytes());
        source.extend_from_slice(&bytes);
    }
    let lock: serde_json::Value = serde_json::from_slice(&file("fixture.lock.json")).unwrap();
    assert_eq!(
        lock["source_sha256"],
        ottla_plugins::sha256_hex(&source),
        "build the plugin anew, and its lock"
    );
    assert_eq!(lock["output_sha256"], ottla_plugins::sha256_hex(&file("decode.wasm")));
}

#[test]
fn variables_from_outside_take_the_place_of_defaults() {
    let environment = |name: &str| (name == "OUT_DB").then(|| "/tmp/elsewhere.db".to_owned());
    let pipeline = Pipeline::load(&manifest_dir().join("flights/pipeline.yaml"), &environment).unwrap();
    let Work::Sink { config, .. } = &pipeline.resolve().stages[2].work else { panic!() };
    assert_eq!(config["path"], "/tmp/elsewhere.db");
}

/// A small right pipeline, to be made wrong.
const SMALL: &str = "\
version: ottla/v1
name: small
schemas:
  order: { id: int, city: string, amount: double?, at: timestamp }
sources:
  orders_csv:
    type: file
    config: { path: orders.csv, format: csv }
    to: { topic: orders, key: city, schema: order }
transforms:
  by_city:
    sql: |
      SELECT city, COUNT(*) AS orders, SUM(amount) AS amount
      FROM orders
      GROUP BY city
sinks:
  to_db:
    from: by_city
    type: sqlite
    config: { path: out.db, table: by_city, mode: upsert, primary_key: [city] }
";

fn small_with(old: &str, new: &str) -> String {
    assert!(SMALL.contains(old), "{old}");
    SMALL.replace(old, new)
}

#[test]
fn a_small_pipeline_is_right() {
    check(SMALL, &["13:7 warning: the state of this query grows"]);
}

#[test]
fn everything_that_is_wrong_is_told_at_once_in_the_order_of_the_file() {
    let text = "\
version: ottla/v1
name: many faults
schemas:
  order: { id: integr, city: string }
sources:
  orders_csv:
    type: fil
    config: { path: !env ORDERS, format: csv }
    to: { topic: orders, key: city, schema: ordr }
transforms:
  big:
    from: [orders]
    wasm: { plugin: grow }
sinks:
  to_db:
    from: bigg
    type: sqlite
    config: { path: out.db, tabel: by_city }
  orders_csv: { from: orders, type: file, config: { path: x.jsonl } }
on_eror: stop
";
    check(
        text,
        &[
            "2:7 a pipeline's name has only ASCII letters",
            "4:16 the column `id` of schema `order`: ",
            "7:11 there is no source of type `fil` (did you mean `file`?)",
            "8:26 `ORDERS` is not declared under `env:` (declare it under `env:`)",
            "9:45 `ordr` is not declared under `schemas:` (did you mean `order`?)",
            "13:21 `grow` is not declared under `plugins:`",
            "16:11 the topic `bigg` is read here, but nothing writes or declares it (did you mean `big`?)",
            "18:13 `table` is missing in the config of `to_db`",
            "18:29 unknown key `tabel` in the config of `to_db` (did you mean `table`?)",
            "19:3 the name `orders_csv` is taken twice (line 6 has a source of that name)",
            "20:1 unknown key `on_eror` in this pipeline (did you mean `on_error`?)",
        ],
    );
}

#[test]
fn an_error_in_a_query_points_at_its_word_in_the_file() {
    check(
        &small_with("SUM(amount)", "SUM(amout)"),
        &["13:44 there is no column `amout` (did you mean `amount`?)"],
    );
    check(
        &small_with("      FROM orders", "      FROM ordes"),
        &["14:12 there is no stream `ordes` (did you mean `orders`?)"],
    );
    let broken = found(&small_with("GROUP BY city", "GROUP city"));
    assert!(broken[0].starts_with("15:7 expected "), "{broken:?}");
}

#[test]
fn a_query_cannot_read_what_has_no_columns_and_reads_what_is_replaced_as_a_table() {
    check(
        &small_with(", schema: order }", " }"),
        &[
            "14:12 a query cannot read the topic `orders`: nothing says what its rows hold: give it a `schema`",
        ],
    );
    let second = small_with("sinks:\n", "  again:\n    sql: SELECT city FROM by_city\nsinks:\n");
    let findings = found(&second);
    assert!(!findings.iter().any(|finding| finding.starts_with("17:")), "{findings:?}");
    let lost = small_with("sinks:\n", "  again:\n    sql: SELECT 1 AS one FROM by_city\nsinks:\n");
    let findings = found(&lost);
    let refused = "17:10 the column `city` is not in SELECT";
    assert!(findings.iter().any(|finding| finding.starts_with(refused)), "{findings:?}");
}

#[test]
fn a_circle_of_stages_is_told_with_its_members() {
    let text = "\
version: ottla/v1
name: circle
topics: { a: {}, b: {} }
schemas: { row: { x: int } }
transforms:
  one: { sql: SELECT x FROM b, to: a }
  two: { sql: SELECT x FROM a, to: b }
";
    let findings = found(text);
    assert!(findings.iter().any(|finding| finding.contains("read each other in a circle")), "{findings:?}");
    let own = SMALL.to_owned()
        + "  letters: { from: dlq, type: file, config: { path: letters.jsonl } }\non_error: { to: dlq }\n";
    let findings = found(&own);
    assert!(
        findings.iter().any(|finding| finding.contains("`letters` reads what it writes itself")),
        "{findings:?}"
    );
}

#[test]
fn a_topic_has_one_writer_of_one_kind_of_rows() {
    let text = small_with("  by_city:\n", "  by_city:\n    to: orders\n");
    let findings = found(&text);
    assert!(
        findings.iter().any(|finding| finding.contains("the topic `orders` is written twice")),
        "{findings:?}"
    );
}

#[test]
fn a_repeated_key_is_one_of_the_findings() {
    let text = small_with("name: small\n", "name: small\nname: large\n");
    let findings = found(&text);
    assert_eq!(findings[0], "3:1 `name` stands twice in this pipeline (the first is on line 2)");
}

#[test]
fn a_variable_may_be_the_config_of_a_topic() {
    let text = small_with(
        "name: small\n",
        "name: small\nenv: { KEEP_MS: { default: 60000 } }\ntopics: { orders: { config: { retention.ms: !env KEEP_MS } } }\n",
    );
    let pipeline = load_text(&text).unwrap_or_else(|findings| panic!("{findings:?}"));
    let orders = pipeline.resolve().topics.iter().find(|topic| topic.name == "orders").unwrap();
    assert_eq!(orders.configs["retention.ms"], "60000");
}

#[test]
fn event_time_and_keys_are_of_columns_that_there_are() {
    let text = small_with(
        "name: small\n",
        "name: small\ntopics:\n  orders: { watermark: { column: citi, delay: 5x }, primary_key: [idd] }\n  \
         by_city: { primary_key: [city] }\n",
    );
    let findings = found(&text);
    for expected in [
        "4:34 there is no column `citi` (did you mean `city`?)",
        "4:67 there is no column `idd` (did you mean `id`?)",
        "5:14 the topic `by_city` is written by a query, which gives it its key (remove `primary_key`)",
    ] {
        assert!(findings.iter().any(|finding| finding == expected), "{expected}: {findings:?}");
    }
    let text =
        small_with("name: small\n", "name: small\ntopics: { orders: { watermark: { column: city } } }\n");
    assert_eq!(found(&text)[0], "3:42 event time is a `timestamp`, and the column `city` is `string`");
}

#[test]
fn a_test_may_only_name_what_there_is() {
    let text = SMALL.to_owned()
        + "tests:\n  - name: t\n    given: { orders: [ { id: 1, citty: A } ], other: [] }\n    expect: { by_city: [ { city: A, amounts: 3 } ] }\n";
    let findings = found(&text);
    assert!(
        findings
            .contains(&"23:33 the topic `orders` has no column `citty` (did you mean `city`?)".to_owned()),
        "{findings:?}"
    );
    assert!(
        findings.iter().any(|finding| finding.contains("the topic `other` of this test is none")),
        "{findings:?}"
    );
    assert!(
        findings.iter().any(|finding| finding.contains("has no column `amounts` (did you mean `amount`?)")),
        "{findings:?}"
    );
}

#[test]
fn a_secret_reaches_its_connector_and_no_message() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("table"), "hidden-name").unwrap();
    let text = small_with(
        "name: small\n",
        "name: small\nsecrets: { t: { from: file, key: table }, n: { from: file, key: table } }\n",
    )
    .replace("table: by_city", "table: !secret t");
    let path = folder.path().join("pipeline.yaml");
    let pipeline = Pipeline::from_text(&path, &text, &no_environment).unwrap();
    let Work::Sink { config, .. } = &pipeline.resolve().stages[2].work else { panic!() };
    assert_eq!(config["table"], "hidden-name");
    assert!(!format!("{pipeline:?}").contains("hidden-name"), "{pipeline:?}");
    let wrong = text.replace("mode: upsert", "mode: !secret n");
    let findings = Pipeline::from_text(&path, &wrong, &no_environment).unwrap_err();
    assert!(findings.iter().all(|finding| !finding.to_string().contains("hidden-name")), "{findings:?}");
}

#[test]
fn a_file_that_is_not_there_or_no_yaml_is_told() {
    let findings = Pipeline::load(Path::new("nowhere/pipeline.yaml"), &no_environment).unwrap_err();
    assert!(
        findings[0].to_string().starts_with("nowhere/pipeline.yaml: error: cannot read it: "),
        "{}",
        findings[0]
    );
    let findings = found("name: [\n");
    assert_eq!(findings.len(), 1, "{findings:?}");
    assert_eq!(found("").len(), 1);
}

#[test]
fn the_json_schema_describes_each_connectors_config() {
    let schema = json_schema();
    let rules = schema.pointer("/$defs/SinkSpec/allOf").and_then(serde_json::Value::as_array).unwrap();
    assert!(rules.iter().any(|rule| rule["if"]["properties"]["type"]["const"] == "sqlite"));
    assert_eq!(schema["additionalProperties"], false);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn no_text_made_of_a_pipelines_own_lines_panics(
        edits in prop::collection::vec((any::<prop::sample::Index>(), any::<prop::sample::Index>(), 0u8..4, "[-:{}\\[\\]!&*|a-z0-9 ,'\"]{0,6}"), 0..5),
    ) {
        let mut lines: Vec<String> = flights_text().lines().map(str::to_owned).collect();
        for (at, other, kind, noise) in edits {
            if lines.is_empty() {
                break;
            }
            let (at, other) = (at.index(lines.len()), other.index(lines.len()));
            match kind {
                0 => drop(lines.remove(at)),
                1 => lines.swap(at, other),
                2 => lines.insert(at, lines[other].clone()),
                _ => {
                    let middle = lines[at].char_indices().map(|(byte, _)| byte).nth(other).unwrap_or(0);
                    lines[at].insert_str(middle, &noise);
                }
            }
        }
        let _ = load_text(&lines.join("\n"));
    }

    #[test]
    fn no_text_at_all_panics(text in "\\PC{0,100}") {
        let _ = load_text(&text);
    }
}
