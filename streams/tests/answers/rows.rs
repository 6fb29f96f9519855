//! Random contents of the streams and tables that the differential cases are about.

use std::sync::Arc;

use arrow::array::{
    ArrayRef, Decimal128Array, Float64Array, Int64Array, RecordBatch, StringArray, TimestampMillisecondArray,
};
use bytes::Bytes;
use ottla_formats::{Format, JsonFormat};
use ottla_streams::Catalog;

use crate::harness::{Feed, Feeds, Random};

pub const STREAMS: &str = "
    CREATE STREAM s (k STRING, v INT, f DOUBLE, d DECIMAL(10, 2), ts TIMESTAMP NOT NULL,
      WATERMARK FOR ts AS ts - INTERVAL '5' SECOND);
    CREATE STREAM r (k STRING, w INT, ts TIMESTAMP NOT NULL, WATERMARK FOR ts AS ts - INTERVAL '5' SECOND);
    CREATE TABLE t (id INT, k STRING, v INT, f DOUBLE, d DECIMAL(10, 2), ts TIMESTAMP NOT NULL, PRIMARY KEY (id));
    CREATE TABLE u (k STRING PRIMARY KEY, n INT);";

/// How disordered the streams' times are.
#[derive(Clone, Copy, PartialEq)]
pub enum Times {
    /// Never behind the watermark.
    Orderly,
    /// Some rows come after the watermark.
    SometimesLate,
}

/// The streams' columns for `count` rows.
struct Columns {
    k: Vec<Option<String>>,
    v: Vec<Option<i64>>,
    f: Vec<Option<f64>>,
    d: Vec<Option<i128>>,
    ts: Vec<i64>,
}

fn columns(random: &mut Random, count: usize, times: Times) -> Columns {
    let mut rows = Columns { k: Vec::new(), v: Vec::new(), f: Vec::new(), d: Vec::new(), ts: Vec::new() };
    let mut now = 0;
    for _ in 0..count {
        let unless = |random: &mut Random| !random.once_in(8);
        rows.k.push(unless(random).then(|| format!("k{}", random.below(4))));
        rows.v.push(unless(random).then(|| match random.once_in(10) {
            true => random.within(-1_000_000_000_000, 1_000_000_000_000),
            false => random.within(-3, 12),
        }));
        // Quarters add up exactly, in whatever order DataFusion adds them.
        rows.f.push(unless(random).then(|| random.within(-40, 40) as f64 / 4.0));
        rows.d.push(unless(random).then(|| i128::from(random.within(-9_999, 9_999))));
        now += random.within(0, 4);
        let behind = match (times, random.once_in(6)) {
            (Times::SometimesLate, true) => random.within(0, 40),
            _ => random.within(0, 5),
        };
        rows.ts.push((now - behind) * 1_000);
    }
    rows
}

fn payloads(catalog: &Catalog, stream: &str, columns: Vec<ArrayRef>) -> Vec<Bytes> {
    let schema = Arc::clone(&catalog.get(stream).unwrap().schema);
    JsonFormat.encode(&RecordBatch::try_new(schema, columns).unwrap()).unwrap()
}

fn arrays(rows: &Columns) -> (ArrayRef, ArrayRef, ArrayRef, ArrayRef, ArrayRef) {
    (
        Arc::new(rows.k.iter().cloned().collect::<StringArray>()),
        Arc::new(rows.v.iter().copied().collect::<Int64Array>()),
        Arc::new(rows.f.iter().copied().collect::<Float64Array>()),
        Arc::new(
            rows.d.iter().copied().collect::<Decimal128Array>().with_precision_and_scale(10, 2).unwrap(),
        ),
        Arc::new(
            rows.ts.iter().copied().map(Some).collect::<TimestampMillisecondArray>().with_timezone("UTC"),
        ),
    )
}

/// Values spread over two partitions, in order within each.
fn spread(random: &mut Random, values: Vec<Bytes>) -> Feed {
    let mut feed: Feed = vec![Vec::new(), Vec::new()];
    for value in values {
        feed[random.below(2) as usize].push((None, Some(value)));
    }
    feed
}

/// Random contents of all streams and tables.
pub fn feeds(catalog: &Catalog, random: &mut Random, times: Times) -> Feeds {
    let mut count = |most| random.below(most) as usize;
    let (s, r, t, u) = (count(60), count(40), count(60), count(20));
    let mut feeds = Feeds::new();

    let (k, v, f, d, ts) = arrays(&columns(random, s, times));
    let values = payloads(catalog, "s", vec![k, v, f, d, ts]);
    feeds.insert("s".to_owned(), spread(random, values));

    let (k, w, _, _, ts) = arrays(&columns(random, r, times));
    let values = payloads(catalog, "r", vec![k, w, ts]);
    feeds.insert("r".to_owned(), spread(random, values));

    let ids: Vec<i64> = (0..t).map(|_| random.within(0, 15)).collect();
    let (k, v, f, d, ts) = arrays(&columns(random, t, times));
    let values = payloads(catalog, "t", vec![Arc::new(Int64Array::from(ids.clone())), k, v, f, d, ts]);
    let mut feed: Feed = vec![Vec::new(), Vec::new()];
    for (id, value) in ids.into_iter().zip(values) {
        let value = (!random.once_in(5)).then_some(value);
        feed[(id % 2) as usize].push((Some(Bytes::from(format!("{{\"id\":{id}}}"))), value));
    }
    feeds.insert("t".to_owned(), feed);

    let keys: Vec<String> = (0..u).map(|_| format!("k{}", random.below(5))).collect();
    let numbers = (0..u).map(|_| (!random.once_in(5)).then(|| random.within(0, 9))).collect::<Int64Array>();
    let names: ArrayRef = Arc::new(keys.iter().map(|key| Some(key.as_str())).collect::<StringArray>());
    let values = payloads(catalog, "u", vec![names, Arc::new(numbers)]);
    let feed = keys
        .into_iter()
        .zip(values)
        .map(|(key, value)| (Some(Bytes::from(key)), (!random.once_in(5)).then_some(value)));
    feeds.insert("u".to_owned(), vec![feed.collect()]);
    feeds
}
