//! The datagen source on its own.

use ottla_formats::{Format as _, JsonFormat, schema_of};
use proptest::prelude::*;
use serde_json::{Map, Value, json};

use super::column::Generator;
use super::config::DatagenSourceConfig;
use crate::connector::{Rows, Source, SourceContext, SourceOffset};
use crate::registry::{CheckConfig as _, SourceConfig as _};

fn open(config: Value, columns: Option<&[(&str, &str)]>, from: u64) -> Result<Box<dyn Source>, String> {
    let config: DatagenSourceConfig = serde_json::from_value(config).unwrap();
    let wrong = config.check();
    if let Some(error) = wrong.first() {
        return Err(error.to_string());
    }
    let schema = columns.map(|columns| schema_of(columns.iter().copied()).unwrap());
    let offset = (from > 0).then(|| SourceOffset { position: from, state: Map::new() });
    let context = SourceContext { name: "made".to_owned(), schema, offset };
    config.open(context).map_err(|error| error.to_string())
}

async fn drain(mut source: Box<dyn Source>) -> Vec<(u64, String)> {
    let mut all = Vec::new();
    while let Some(batch) = source.poll().await.unwrap() {
        let Rows::Arrow(rows) = &batch.rows else { panic!("rows without columns") };
        let values = JsonFormat.encode(rows).unwrap();
        let texts = values.iter().map(|value| String::from_utf8(value.to_vec()).unwrap());
        all.extend(batch.positions.into_iter().zip(texts));
    }
    all
}

#[tokio::test]
async fn columns_hold_what_is_asked_for() {
    let columns = [("n", "int"), ("kind", "string"), ("at", "timestamp"), ("dice", "int"), ("ok", "boolean")];
    let config = json!({
        "rows": 100,
        "columns": {
            "n": "sequence", "kind": "choice(a|b)", "at": "step(2020-01-01T00:00:00Z, 60000)",
            "dice": "random(1..7)",
        },
    });
    let rows = drain(open(config, Some(&columns), 0).unwrap()).await;
    let parsed: Vec<Value> = rows.iter().map(|(_, row)| serde_json::from_str(row).unwrap()).collect();
    assert_eq!((rows.len(), rows[99].0, &parsed[99]["n"]), (100, 100, &json!(100)));
    assert!(parsed[1]["at"].as_str().unwrap().starts_with("2020-01-01T00:01:00"), "{}", parsed[1]);
    let distinct = |name: &str| {
        let mut values: Vec<String> = parsed.iter().map(|row| row[name].to_string()).collect();
        values.sort();
        values.dedup();
        values
    };
    assert_eq!(distinct("kind"), ["\"a\"", "\"b\""]);
    assert_eq!(distinct("dice"), ["1", "2", "3", "4", "5", "6"]);
    assert_eq!(distinct("ok"), ["false", "true"]);
}

#[tokio::test]
async fn rows_do_not_come_faster_than_their_rate() {
    let begun = std::time::Instant::now();
    let rows = drain(open(json!({"rows": 50, "rate": 200}), None, 0).unwrap()).await;
    // The last batch, of 10 rows, is due after the 40 before it.
    assert!(rows.len() == 50 && begun.elapsed().as_millis() >= 200, "{} rows", rows.len());
}

#[test]
fn what_cannot_be_made_is_refused() {
    let refused = |config, columns| open(config, columns, 0).err().unwrap();
    let word = refused(json!({"columns": {"id": "many"}}), None);
    assert!(word.contains("columns: id: \"many\" is none of: sequence"), "{word}");
    assert!(refused(json!({"columns": {"id": "random(5..1)"}}), None).contains("the lower first"));
    assert!(refused(json!({"columns": {"x": "sequence"}}), None).contains("there are: id, at, name, value"));
    let no_number = refused(json!({"columns": {"id": "choice(a)"}}), None);
    assert!(no_number.contains("column 'id'"), "{no_number}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    #[test]
    fn a_restart_goes_on_with_the_same_rows(seed in any::<u64>(), from in 0u64..50, batch_size in 1usize..20) {
        let rows = |from| {
            let config = json!({"rows": 60, "seed": seed, "batch_size": batch_size});
            let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
            runtime.block_on(drain(open(config, None, from).unwrap()))
        };
        let whole = rows(0);
        prop_assert_eq!(&whole[usize::try_from(from).unwrap()..], &rows(from)[..]);
    }

    #[test]
    fn no_word_panics(text in ".{0,40}") {
        let _ = Generator::parse(&text);
    }
}
