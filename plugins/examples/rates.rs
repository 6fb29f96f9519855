//! How fast records and rows pass through plugins: `cargo run --release -p ottla-plugins --example rates`.
//!
//! One thread, whose CPU time is what counts; a component built from Rust with the SDK, the host's default limits, epochs passing. Best of
//! five rounds.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use arrow::array::{Array, ArrayRef, Float64Array, Int64Array, StringArray};
use bytes::Bytes;
use ottla_plugins::{Host, Limits, Plugin, Record, ScalarPlugin};

const ROUNDS: usize = 5;
const RECORDS: usize = 1_000_000;
const RECORD_BYTES: usize = 100;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let examples = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples");
    let host = Host::new(None)?;
    let limits = Limits::default();

    let path = examples.join("split-lines/split-lines.wasm");
    let transform = Plugin::load_on(&host, "split-lines", &path, None, &limits)?.transform();
    let value = Bytes::from(vec![b'x'; RECORD_BYTES]);
    for batch in [10, 100, 500, 1000] {
        let records = vec![
            Record {
                timestamp_ms: 1,
                key: Some(Bytes::from_static(b"12345678")),
                value: Some(value.clone()),
                ..Record::default()
            };
            batch
        ];
        let calls = RECORDS / batch;
        let rate = best(calls * batch, || {
            for _ in 0..calls {
                assert_eq!(transform.call(&records)?.len(), batch);
            }
            Ok(())
        })?;
        println!(
            "transform split-lines, {RECORD_BYTES}-byte values, batches of {batch}: {rate:.2} million records/s"
        );
    }

    let component = std::fs::read(examples.join("text-functions/text-functions.wasm"))?;
    let plugin = ScalarPlugin::open(&host, "text-functions", &component, &limits)?;
    let texts = |text: &str| Arc::new(StringArray::from(vec![text; 8192])) as ArrayRef;
    let degrees = |degrees: f64| Arc::new(Float64Array::from(vec![degrees; 8192])) as ArrayRef;
    let integers: ArrayRef = Arc::new(Int64Array::from(vec![2; 8192]));
    for (name, columns) in [
        ("url_host", vec![texts("https://example.org/a/b?c=d")]),
        ("mask", vec![texts("a text of 20 letters"), integers]),
        ("distance_km", [40.6925, -74.1687, 40.6398, -73.7789].map(degrees).to_vec()),
    ] {
        let function = plugin.function(name).ok_or("no such function")?;
        for rows in [100, 8192] {
            let columns: Vec<ArrayRef> = columns.iter().map(|column| column.slice(0, rows)).collect();
            let calls = RECORDS / rows;
            let rate = best(calls * rows, || {
                for _ in 0..calls {
                    assert_eq!(function.call(&columns, rows)?.len(), rows);
                }
                Ok(())
            })?;
            println!("function {}, batches of {rows}: {rate:.2} million rows/s", function.signature());
        }
    }
    Ok(())
}

/// Millions of items per second of CPU time, in the best round.
fn best(
    items: usize,
    mut round: impl FnMut() -> Result<(), ottla_plugins::PluginError>,
) -> Result<f64, Box<dyn std::error::Error>> {
    let mut best = Duration::MAX;
    for _ in 0..ROUNDS {
        let before = cpu_time()?;
        round()?;
        best = best.min(cpu_time()? - before);
    }
    Ok(items as f64 / best.as_secs_f64() / 1e6)
}

/// CPU time of this thread.
fn cpu_time() -> Result<Duration, Box<dyn std::error::Error>> {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat")?;
    let nanoseconds = text.split_ascii_whitespace().next().ok_or("schedstat is empty")?.parse()?;
    Ok(Duration::from_nanos(nanoseconds))
}
