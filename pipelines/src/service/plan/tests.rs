//! What plans say of small pipelines, each against what was applied before and the topics that there are.

use std::path::Path;

use super::*;

const SMALL: &str = "\
version: ottla/v1
name: small
topics:
  orders: { partitions: 2, config: { retention.ms: 1000 } }
schemas:
  order: { id: int, city: string, amount: int }
sources:
  orders_csv:
    type: file
    config: { path: orders.csv, format: csv }
    to: { topic: orders, key: city, schema: order }
transforms:
  by_city:
    sql: SELECT city, SUM(amount) AS amount FROM orders GROUP BY city
  large:
    sql: SELECT city, amount FROM by_city WHERE amount > 10
sinks:
  to_db:
    from: large
    type: sqlite
    config: { path: out.db, table: large, mode: upsert, primary_key: [city] }
";

fn load(text: &str) -> Pipeline {
    Pipeline::from_text(Path::new("/p/pipeline.yaml"), text, &|_| None).unwrap_or_else(|findings| {
        panic!("{}", findings.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))
    })
}

/// The topics of a pipeline as it makes them.
fn topics_of(pipeline: &Pipeline) -> BTreeMap<String, TopicFacts> {
    let topics = pipeline.resolve().topics.iter();
    topics
        .map(|topic| {
            let facts = TopicFacts { partitions: topic.partitions, configs: topic.configs.clone() };
            (topic.name.clone(), facts)
        })
        .collect()
}

fn told(changes: &[Change]) -> Vec<String> {
    changes
        .iter()
        .map(|change| {
            let refusal = if change.refusal.is_some() { " REFUSED" } else { "" };
            let details = change.details.join("; ");
            format!("{:?} {} {}: {details}{refusal}", change.action, change.kind, change.name)
        })
        .collect()
}

/// What changes when one text takes the place of another, whose topics are as it made them.
fn between(old: &str, new: &str) -> Vec<String> {
    let (old, new) = (load(old), load(new));
    let topics = topics_of(&old);
    told(&changes(
        &new,
        &Present { applied: Some(old.resolve()), topics: &topics, others: Vec::new(), failure: None },
    ))
}

fn edited(old: &str, new: &str) -> Vec<String> {
    assert!(SMALL.contains(old), "{old}");
    between(SMALL, &SMALL.replace(old, new))
}

#[test]
fn what_is_not_there_is_created_in_the_order_of_the_graph() {
    let pipeline = load(SMALL);
    let found = changes(
        &pipeline,
        &Present { applied: None, topics: &BTreeMap::new(), others: Vec::new(), failure: None },
    );
    assert_eq!(
        told(&found),
        [
            "Create topic by_city: partitions: 1",
            "Create topic large: partitions: 1",
            "Create topic orders: partitions: 2; retention.ms: 1000",
            "Create source orders_csv: file → orders",
            "Create query by_city: orders → sql → by_city",
            "Create query large: by_city → sql → large",
            "Create sink to_db: large → sqlite",
        ]
    );
    assert_eq!(found[3].line, Some(8));
}

#[test]
fn the_same_file_again_changes_nothing_and_one_that_failed_is_started_again() {
    assert_eq!(between(SMALL, SMALL), [""; 0]);
    let pipeline = load(SMALL);
    let topics = topics_of(&pipeline);
    let present = Present {
        applied: Some(pipeline.resolve()),
        topics: &topics,
        others: Vec::new(),
        failure: Some("no disk"),
    };
    assert_eq!(told(&changes(&pipeline, &present)), ["Restart pipeline small: it has failed: no disk"]);
}

#[test]
fn a_query_whose_state_cannot_be_kept_is_refused_unless_the_file_allows_it_and_takes_its_readers_along() {
    let other = "SELECT city, SUM(amount) AS amount FROM orders WHERE id > 7 GROUP BY city";
    let old = "SELECT city, SUM(amount) AS amount FROM orders GROUP BY city";
    let refused = edited(old, other);
    assert_eq!(refused.len(), 3, "{refused:?}");
    assert_eq!(
        refused[0],
        "Replace query by_city: changed: sql; its state and the topic `by_city` are deleted, and it reads its input from the \
         beginning REFUSED"
    );
    assert!(
        refused[1].starts_with("Replace query large: it reads `by_city`, which is made anew"),
        "{refused:?}"
    );
    assert!(
        refused[2].starts_with("Restart sink to_db: it reads `large`, which is made anew; it begins"),
        "{refused:?}"
    );
    let allowed = edited(old, &format!("{other}\n    replace: true"));
    assert!(allowed.iter().all(|change| !change.contains("REFUSED")), "{allowed:?}");
}

#[test]
fn a_query_without_state_goes_on_otherwise() {
    let found = edited("WHERE amount > 10", "WHERE amount > 20");
    // A filter of a keyed topic keeps its rows, so that it can take them back.
    assert!(found[0].starts_with("Replace query large: changed: sql"), "{found:?}");
    let stream = SMALL.replace("FROM by_city WHERE amount > 10", "FROM orders WHERE amount > 10");
    let found = between(&stream, &stream.replace("amount > 10", "amount > 20"));
    assert_eq!(found, ["Restart query large: changed: sql; rows from now on; what it wrote before stays"]);
}

#[test]
fn connectors_go_on_where_they_were_or_begin_at_a_new_place() {
    assert_eq!(
        edited("path: orders.csv, format: csv", "path: orders.csv, format: csv, batch_size: 7"),
        ["Restart source orders_csv: changed: config.batch_size; it goes on where it was"]
    );
    assert_eq!(
        edited("path: orders.csv", "path: other.csv"),
        [
            "Restart source orders_csv: changed: config.path; it reads its new place from the beginning; what it wrote before stays"
        ]
    );
    assert_eq!(edited("table: large", "table: big").len(), 1);
}

#[test]
fn topics_are_changed_in_place_and_never_lose_records() {
    assert_eq!(
        edited("retention.ms: 1000", "retention.ms: 2000"),
        ["Update topic orders: retention.ms: 1000 → 2000"]
    );
    assert_eq!(
        edited(", config: { retention.ms: 1000 }", ""),
        ["Update topic orders: retention.ms: back to its default"]
    );
    assert_eq!(edited("partitions: 2", "partitions: 3"), ["Update topic orders: partitions: 2 → 3 REFUSED"]);
    let found = edited(
        "  large:\n    sql: SELECT city, amount FROM by_city WHERE amount > 10\nsinks:\n  to_db:\n    from: large\n",
        "sinks:\n  to_db:\n    from: by_city\n",
    );
    assert!(found.iter().any(|change| change.starts_with("Remove query large: it stops")), "{found:?}");
    assert!(found.contains(&"Remove topic large: the topic and its records stay".to_owned()), "{found:?}");
}

#[test]
fn a_topic_that_is_there_is_adopted() {
    let pipeline = load(SMALL);
    let facts =
        TopicFacts { partitions: 2, configs: [("retention.ms".to_owned(), "1000".to_owned())].into() };
    let topics = [("orders".to_owned(), facts)].into();
    let found =
        changes(&pipeline, &Present { applied: None, topics: &topics, others: Vec::new(), failure: None });
    assert!(
        told(&found)
            .contains(&"Adopt topic orders: it is there already, and is used with what it holds".to_owned()),
        "{:?}",
        told(&found)
    );
}

#[test]
fn what_another_pipeline_writes_is_left_to_it() {
    let (pipeline, other) = (load(&SMALL.replace("name: small", "name: other")), load(SMALL));
    let topics = topics_of(&other);
    let present = Present { applied: None, topics: &topics, others: vec![other.resolve()], failure: None };
    let found = changes(&pipeline, &present);
    let refused: Vec<&str> =
        found.iter().filter(|change| change.refusal.is_some()).map(|change| change.name.as_str()).collect();
    // Sources may share a topic.
    assert_eq!(refused, ["by_city", "large"], "{:?}", told(&found));
}

#[test]
fn a_plan_reads_back_as_it_was() {
    let pipeline = load(SMALL);
    let document = Document {
        file: "/p/pipeline.yaml".into(),
        text: SMALL.to_owned(),
        env: [("A".to_owned(), None)].into(),
        working_dir: "/w".into(),
    };
    let changes = changes(
        &pipeline,
        &Present { applied: None, topics: &BTreeMap::new(), others: Vec::new(), failure: None },
    );
    let plan = Plan { pipeline: "small".to_owned(), base_revision: None, changes, document };
    assert_eq!(serde_json::from_str::<Plan>(&serde_json::to_string(&plan).unwrap()).unwrap(), plan);
}

#[test]
fn state_that_another_function_made_is_not_kept() {
    let scalar = Path::new(env!("CARGO_MANIFEST_DIR")).join("../plugins/tests/fixtures/scalar.wasm");
    let with = |function: &str| {
        let section = format!(
            "name: small\nplugins: {{ n: {{ path: {} }} }}\nfunctions: {{ score: {{ plugin: n, function: {function} }} }}\n",
            scalar.display()
        );
        SMALL.replace("name: small\n", &section).replace("SUM(amount)", "SUM(score(amount))")
    };
    let (same, other) = (with("same"), with("refuse_negative"));
    assert!(between(&same, &same).is_empty());
    let told = between(&same, &other);
    assert!(told[0].starts_with("Replace query by_city: changed: function score; its state"), "{told:?}");
    assert!(told[0].ends_with("REFUSED"), "{told:?}");
    let told = between(SMALL, &same);
    assert!(told[0].contains("changed: function score, sql"), "{told:?}");
    let pipeline = load(&same);
    let created = changes(
        &pipeline,
        &Present { applied: None, topics: &BTreeMap::new(), others: Vec::new(), failure: None },
    );
    assert!(
        created
            .iter()
            .any(|change| change.details.contains(&"calls same(int64) -> int64 of plugin n".to_owned()))
    );
}

#[test]
fn what_a_plugin_may_use_is_part_of_what_calls_it() {
    let plugins = Path::new(env!("CARGO_MANIFEST_DIR")).join("../plugins");
    let file = |limits: &str| {
        let (numbers, lines) = ("tests/fixtures/scalar.wasm", "examples/split-lines/split-lines.wasm");
        let section = format!(
            "name: small\nplugins:\n  n: {{ path: {}, limits: {limits} }}\n  l: {{ path: {}, limits: {limits} }}\n\
             functions: {{ same: {{ plugin: n }} }}\n",
            plugins.join(numbers).display(),
            plugins.join(lines).display()
        );
        SMALL
            .replace("name: small\n", &section)
            .replace("SUM(amount)", "SUM(same(amount))")
            .replace("transforms:\n", "transforms:\n  lines: { from: orders, wasm: { plugin: l } }\n")
    };
    let (few, more) = (file("{ memory: 32MiB }"), file("{ memory: 64MiB }"));
    assert!(between(&few, &few).is_empty());
    let told = between(&few, &more);
    assert_eq!(told.len(), 2, "{told:?}");
    assert!(
        told.iter().any(|change| change.starts_with("Restart plugin lines: changed: limits; ")),
        "{told:?}"
    );
    assert!(
        told.iter().any(|change| change.starts_with("Restart query by_city: changed: function same; ")),
        "{told:?}"
    );
    assert!(between(&more, &file("{}")).is_empty(), "64 MiB is the default");
}

#[test]
fn a_renamed_stage_goes_on_where_it_was() {
    let renamed = SMALL
        .replace("  orders_csv:\n", "  csv:\n    renamed_from: orders_csv\n")
        .replace("  by_city:\n", "  sums:\n    renamed_from: by_city\n    to: by_city\n")
        .replace("  to_db:\n", "  db:\n    renamed_from: to_db\n");
    assert_eq!(
        between(SMALL, &renamed),
        [
            "Restart source csv: called `orders_csv` before; its place and state stay; it goes on where it was",
            "Restart query sums: called `by_city` before; its place and state stay; rows from now on; what it wrote before stays",
            "Restart sink db: called `to_db` before; its place and state stay; it goes on where it was, or in a new target from the beginning of its topics",
        ]
    );
    assert!(between(&renamed, &renamed).is_empty());
    let ids: Vec<String> = load(&renamed).resolve().stages.iter().map(|stage| stage.id.clone()).collect();
    let before: Vec<String> = load(SMALL).resolve().stages.iter().map(|stage| stage.id.clone()).collect();
    assert_eq!(ids, before);

    // Two that change their names for each other keep what is theirs.
    let swapped =
        SMALL.replace("  by_city:\n", "  large:\n    renamed_from: by_city\n    to: by_city\n").replace(
            "  large:\n    sql: SELECT city, amount",
            "  by_city:\n    renamed_from: large\n    to: large\n    sql: SELECT city, amount",
        );
    let told = between(SMALL, &swapped);
    assert!(told.iter().all(|change| change.starts_with("Restart ")) && told.len() == 2, "{told:?}");

    // The name of one that is gone with this change is not free yet.
    let one = "    sql: SELECT city, SUM(amount) AS amount FROM orders GROUP BY city\n";
    let displaced = SMALL
        .replace(&format!("  by_city:\n{one}"), "")
        .replace(
            "  large:\n    sql: SELECT city, amount FROM by_city WHERE amount > 10\n",
            &format!("  large:\n    renamed_from: by_city\n    to: by_city\n{one}"),
        )
        .replace("    from: large\n", "    from: by_city\n");
    let told = between(SMALL, &displaced);
    assert!(
        told.iter().any(|change| change.starts_with("Restart query large: ") && change.ends_with("REFUSED")),
        "{told:?}"
    );

    // A word too few would begin anew, and a wrong one would take another's place.
    let told = between(&renamed, &renamed.replace("    renamed_from: by_city\n", ""));
    assert!(
        told.iter().any(|change| change.starts_with("Create query sums: ") && change.ends_with("REFUSED")),
        "{told:?}"
    );
    let third = renamed.replace("  sums:\n    renamed_from: by_city", "  totals:\n    renamed_from: sums");
    let told = between(&renamed, &third);
    assert!(
        told.iter().any(|change| change.starts_with("Create query totals: ") && change.ends_with("REFUSED")),
        "{told:?}"
    );
    let right = renamed.replace("  sums:", "  totals:");
    assert_eq!(between(&renamed, &right).len(), 1);
    let taken = SMALL.replace(
        "    sql: SELECT city, SUM",
        "    renamed_from: other\n    to: by_city\n    sql: SELECT city, SUM",
    );
    let told = between(SMALL, &taken);
    assert!(
        told.iter().any(|change| change.starts_with("Create query by_city: ") && change.ends_with("REFUSED")),
        "{told:?}"
    );
}
