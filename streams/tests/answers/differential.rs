//! Streaming answers against the batch answers of DataFusion over the same rows.
//!
//! A case is a seed: random tables, a random query over all operators, cut into random epochs with restarts between them.
//! What a reader has after an epoch, the last row of every key, must equal what DataFusion gives for the same query over
//! the rows read so far, to the last bit. `OTTLA_TEST_SEED` runs one case, `OTTLA_TEST_CASES` another number of them.

use arrow::array::{
    ArrayRef, Decimal128Array, Float64Array, Int64Array, RecordBatch, StringArray, TimestampMillisecondArray,
};
use std::sync::Arc;

use bytes::Bytes;
use ottla_formats::{Format, JsonFormat};
use ottla_streams::{Catalog, plan};

use crate::harness::{Feed, Feeds, Random, Running, batch_answer, catalog};

const STREAMS: &str = "
    CREATE STREAM s (k STRING, v INT, f DOUBLE, d DECIMAL(10, 2), ts TIMESTAMP NOT NULL,
      WATERMARK FOR ts AS ts - INTERVAL '5' SECOND);
    CREATE STREAM r (k STRING, w INT, ts TIMESTAMP NOT NULL, WATERMARK FOR ts AS ts - INTERVAL '5' SECOND);
    CREATE TABLE t (id INT, k STRING, v INT, f DOUBLE, d DECIMAL(10, 2), ts TIMESTAMP NOT NULL, PRIMARY KEY (id));
    CREATE TABLE u (k STRING PRIMARY KEY, n INT);";

/// How disordered the streams' times are.
#[derive(Clone, Copy, PartialEq)]
enum Times {
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
fn feeds(catalog: &Catalog, random: &mut Random, times: Times) -> Feeds {
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

/// Runs a query over feeds in random epochs; after some of them, and at the end, its result is the batch answer.
fn check(sql: &str, catalog: &Catalog, feeds: &Feeds, random: &mut Random, is_exact_at_every_epoch: bool) {
    let planned = plan(sql, catalog).unwrap_or_else(|error| panic!("{} {error}\n{sql}", error.position));
    let mut running = Running::new(planned, feeds);
    let size = [1, 3, 10, 100][random.below(4) as usize];
    while !running.is_drained() {
        let lag = random.below(4);
        running.epoch(|_| if random.below(4) < lag { 0 } else { random.below(size + 1) as usize }, false);
        if random.once_in(4) {
            running.restart();
        }
        if is_exact_at_every_epoch && random.once_in(3) {
            let expected = batch_answer(sql, catalog, &running.rows_read(catalog));
            assert_eq!(running.result(), expected, "after an epoch of {sql}");
        }
    }
    running.epoch(|_| 0, true);
    let expected = batch_answer(sql, catalog, &running.rows_read(catalog));
    assert_eq!(running.result(), expected, "at the end of {sql}");
    assert!(running.letters.is_empty(), "no row of {sql} is late: {:?}", running.letters);
}

/// A relation with the columns k, v, f, d and ts.
fn relation(random: &mut Random, depth: u64) -> String {
    if depth == 0 {
        return format!("(SELECT k, v, f, d, ts FROM {})", random.pick(&["s", "t"]));
    }
    let inner = relation(random, depth - 1);
    match random.below(8) {
        0 => format!(
            "(SELECT * FROM {inner} WHERE {})",
            random.pick(&[
                "v > 2",
                "k <> 'k1'",
                "v % 2 = 0 OR f < 1",
                "k IS NULL OR d > 0",
                "NOT (f >= 2.5)"
            ])
        ),
        1 => {
            let other = relation(random, depth - 1);
            format!("(SELECT * FROM {inner} UNION ALL SELECT k, v + 1, f, d, ts FROM {other})")
        }
        2 => format!(
            "(SELECT a.k, COALESCE(b.n, a.v) AS v, a.f, a.d, a.ts FROM {inner} AS a {} JOIN u AS b ON a.k = b.k{})",
            random.pick(&["LEFT", "INNER"]),
            random.pick(&["", " AND a.v < b.n", " AND b.n IS NOT NULL"])
        ),
        3 => format!(
            "(SELECT k, v, f, d, ts FROM (SELECT *, ROW_NUMBER() OVER (PARTITION BY {} ORDER BY {}) AS rn FROM {inner}) \
             WHERE rn <= {})",
            random.pick(&["k", "k, v % 2"]),
            random.pick(&[
                "ts DESC, v, f, d, k",
                "v DESC NULLS LAST, f DESC, d, ts, k",
                "d, k DESC, v NULLS FIRST, f, ts"
            ]),
            random.within(1, 4)
        ),
        4 => format!(
            "(SELECT k, MAX(v) AS v, SUM(f) AS f, CAST(SUM(d) AS DECIMAL(10, 2)) AS d, MIN(ts) AS ts FROM {inner} GROUP BY k, {})",
            random.pick(&["v % 3", "ts", "f > 0"])
        ),
        5 => format!("(SELECT k, unnest(make_array(v, v + 1, 5)) AS v, f, d, ts FROM {inner})"),
        6 => format!(
            "(SELECT a.k, b.w AS v, a.f, a.d, a.ts FROM {inner} AS a JOIN r AS b ON a.k = b.k AND a.v {} b.w)",
            random.pick(&[">", "=", "<>"])
        ),
        _ => format!(
            "(SELECT a.k, a.v + b.w AS v, a.f, a.d, b.ts FROM s AS a JOIN r AS b ON a.k = b.k \
             AND a.ts BETWEEN b.ts - INTERVAL '{}' SECOND AND b.ts + INTERVAL '{}' SECOND)",
            random.below(9),
            random.below(9)
        ),
    }
}

const AGGREGATES: [&str; 26] = [
    "COUNT(*)",
    "COUNT(v)",
    "COUNT(*) FILTER (WHERE v > 3)",
    "COUNT(DISTINCT v)",
    "COUNT(DISTINCT v) FILTER (WHERE f > 0)",
    "SUM(v)",
    "SUM(f)",
    "SUM(d)",
    "SUM(DISTINCT v)",
    "SUM(v) FILTER (WHERE k IS NOT NULL)",
    "AVG(v)",
    "AVG(f)",
    "AVG(d)",
    "MIN(v)",
    "MAX(v)",
    "MIN(f)",
    "MAX(d)",
    "MAX(k)",
    "MIN(ts) FILTER (WHERE v < 5)",
    "FIRST_VALUE(v ORDER BY ts, v, f)",
    "LAST_VALUE(v ORDER BY v NULLS FIRST, f)",
    "array_to_string(ARRAY_AGG(v ORDER BY v), '-')",
    "array_to_string(array_sort(ARRAY_AGG(DISTINCT v)), '-')",
    "array_to_string(array_sort(ARRAY_AGG(v) FILTER (WHERE v IS NOT NULL)), '-')",
    "bool_or(v > 5)",
    "median(v)",
];

/// A query whose result has a key.
fn query(random: &mut Random) -> String {
    let depth = random.below(4);
    let relation = relation(random, depth);
    match random.below(6) {
        0 => format!(
            "SELECT k, v, f, d, ts, rn FROM (SELECT *, ROW_NUMBER() OVER (PARTITION BY k ORDER BY v DESC, f, d, ts) AS rn \
             FROM {relation}) WHERE rn {} ",
            random.pick(&["<= 3", "= 1", "< 3", "BETWEEN 2 AND 3"])
        ),
        1 => format!("SELECT DISTINCT k, v % 3 AS m FROM {relation}"),
        _ => {
            let mut items = Vec::new();
            for number in 0..1 + random.below(4) {
                items.push(format!("{} AS a{number}", random.pick(&AGGREGATES)));
            }
            let group = random.pick(&["k", "k, v % 2", "", "upper(k)"]);
            let having =
                random.pick(&["", "", " HAVING COUNT(*) > 2", " HAVING MIN(v) < 3 OR COUNT(DISTINCT v) = 2"]);
            match group {
                "" => format!("SELECT {} FROM {relation}", items.join(", ")),
                group => format!(
                    "SELECT {}, {} FROM {relation} GROUP BY {group}{having}",
                    group
                        .split(", ")
                        .enumerate()
                        .map(|(n, g)| format!("{g} AS g{n}"))
                        .collect::<Vec<_>>()
                        .join(", "),
                    items.join(", ")
                ),
            }
        }
    }
}

/// Runs cases, each named by its seed when it fails.
fn for_each_seed(cases: u64, case: impl Fn(u64, &mut Random) + std::panic::RefUnwindSafe) {
    let setting = |name: &str| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    let seeds = match setting("OTTLA_TEST_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..setting("OTTLA_TEST_CASES").unwrap_or(cases),
    };
    for seed in seeds {
        let outcome = std::panic::catch_unwind(|| case(seed, &mut Random::new(seed)));
        if let Err(panic) = outcome {
            eprintln!("OTTLA_TEST_SEED={seed} runs the case that failed");
            std::panic::resume_unwind(panic);
        }
    }
}

#[test]
fn random_queries_over_random_rows_give_the_batch_answer_at_every_epoch() {
    let catalog = catalog(STREAMS);
    for_each_seed(120, |_, random| {
        let feeds = feeds(&catalog, random, Times::Orderly);
        let sql = query(random);
        check(&sql, &catalog, &feeds, random, true);
    });
}

/// Windows over `s` and joins in time with `r`, with what each keeps when its input is over.
const WINDOWED: [&str; 9] = [
    "SELECT k, window_start, window_end, COUNT(*) AS c, SUM(f) AS f, AVG(v) AS a, MAX(v) AS m, COUNT(DISTINCT v) AS d
       FROM TUMBLE(TABLE s, DESCRIPTOR(ts), INTERVAL '10' SECOND) GROUP BY k, window_start, window_end",
    "SELECT window_end, COUNT(*) FILTER (WHERE v > 3) AS c, LAST_VALUE(v ORDER BY ts, v, f) AS l
       FROM TUMBLE(TABLE s, DESCRIPTOR(ts), INTERVAL '7' SECOND, INTERVAL '2' SECOND) GROUP BY window_start, window_end",
    "SELECT k, window_start, COUNT(*) AS c, SUM(v) AS s
       FROM HOP(TABLE s, DESCRIPTOR(ts), INTERVAL '4' SECOND, INTERVAL '10' SECOND) GROUP BY k, window_start, window_end",
    "SELECT k, window_start, window_end, COUNT(*) AS c, MIN(v) AS m
       FROM SESSION(TABLE s PARTITION BY k, DESCRIPTOR(ts), INTERVAL '3' SECOND) GROUP BY k, window_start, window_end",
    "SELECT window_end, MAX(c) AS m, COUNT(*) AS keys FROM (SELECT k, window_start, window_end, COUNT(*) AS c
       FROM TUMBLE(TABLE s, DESCRIPTOR(ts), INTERVAL '10' SECOND) GROUP BY k, window_start, window_end)
       GROUP BY window_start, window_end",
    "SELECT a.k, a.window_start, a.c, b.n FROM (SELECT k, window_start, window_end, COUNT(*) AS c
       FROM TUMBLE(TABLE s, DESCRIPTOR(ts), INTERVAL '10' SECOND) GROUP BY k, window_start, window_end) a
     LEFT JOIN (SELECT k, window_start, window_end, SUM(w) AS n
       FROM TUMBLE(TABLE r, DESCRIPTOR(ts), INTERVAL '10' SECOND) GROUP BY k, window_start, window_end) b
     ON a.k = b.k AND a.window_start = b.window_start AND a.window_end = b.window_end",
    "SELECT k, window_start, v, f, d, ts, rn FROM (SELECT *, ROW_NUMBER() OVER (PARTITION BY k, window_start, window_end
       ORDER BY v DESC, f, d, ts) AS rn FROM TUMBLE(TABLE s, DESCRIPTOR(ts), INTERVAL '10' SECOND)) WHERE rn <= 2",
    "WITH j AS (SELECT s.k, s.v, r.w, s.ts FROM s JOIN r ON s.k = r.k
       AND s.ts BETWEEN r.ts - INTERVAL '3' SECOND AND r.ts + INTERVAL '2' SECOND)
     SELECT k, COUNT(*) AS c, SUM(v * w) AS p FROM j GROUP BY k",
    "WITH j AS (SELECT s.k, s.v, r.w, s.ts FROM s LEFT JOIN r ON s.k = r.k AND r.w > s.v
       AND s.ts >= r.ts - INTERVAL '3' SECOND AND r.ts + INTERVAL '2' SECOND > s.ts)
     SELECT k, window_start, COUNT(*) AS c, COUNT(w) AS n, SUM(w) AS p
       FROM TUMBLE(TABLE j, DESCRIPTOR(ts), INTERVAL '10' SECOND) GROUP BY k, window_start, window_end",
];

/// State that has no time: the groups of the join that are by `k` alone.
const KEEPS_GROUPS: usize = 7;

/// Whether EMIT FINAL has a window to wait for.
fn can_be_final(number: usize) -> bool {
    !WINDOWED[number].contains("ROW_NUMBER") && number != KEEPS_GROUPS
}

#[test]
fn windows_and_joins_in_time_give_the_batch_answer_and_then_forget() {
    let catalog = catalog(STREAMS);
    for_each_seed(25, |_, random| {
        let feeds = feeds(&catalog, random, Times::Orderly);
        for (number, sql) in WINDOWED.iter().enumerate() {
            let is_final = random.once_in(2) && can_be_final(number);
            let sql = if is_final { format!("{sql} EMIT FINAL") } else { (*sql).to_owned() };
            check(&sql, &catalog, &feeds, random, !is_final);
            let planned = plan(&sql, &catalog).unwrap();
            assert_eq!(planned.warnings().is_empty(), number != KEEPS_GROUPS, "{planned}");
            let mut running = Running::new(planned, &feeds);
            running.epoch(|_| 7, false);
            running.epoch(|_| usize::MAX, false);
            running.epoch(|_| 0, true);
            if number != KEEPS_GROUPS {
                assert_eq!(running.state_rows(), 0, "{sql}");
            }
        }
    });
}

#[test]
fn late_rows_are_dead_letters_and_the_rest_gives_the_batch_answer() {
    let catalog = catalog(STREAMS);
    let mut all_late = 0;
    for seed in 0..30 {
        let random = &mut Random::new(seed);
        let feeds = feeds(&catalog, random, Times::SometimesLate);
        // In each of these a row is of one window, so it is late or it counts.
        for number in [0, 1, 3, 6, KEEPS_GROUPS] {
            let lateness = random.pick(&[
                "",
                " ALLOWED LATENESS INTERVAL '10' SECOND",
                " ALLOWED LATENESS INTERVAL '1' HOUR",
            ]);
            let emit = if can_be_final(number) && random.once_in(2) { " EMIT FINAL" } else { "" };
            let sql = format!("{}{lateness}{emit}", WINDOWED[number]);
            let mut running = Running::new(plan(&sql, &catalog).unwrap(), &feeds);
            while !running.is_drained() {
                running.epoch(|_| random.below(5) as usize, false);
                if emit.is_empty() && random.once_in(4) {
                    let expected = batch_answer(&sql, &catalog, &running.rows_read(&catalog));
                    assert_eq!(running.result(), expected, "seed {seed}, after an epoch of {sql}");
                }
            }
            running.epoch(|_| 0, true);
            let expected = batch_answer(&sql, &catalog, &running.rows_read(&catalog));
            assert_eq!(running.result(), expected, "seed {seed}, at the end of {sql}");
            assert!(running.letters.iter().all(|(_, _, reason)| reason.contains("it came late")));
            assert!(
                lateness.len() < 10 || !lateness.contains("HOUR") || running.letters.is_empty(),
                "seed {seed}: {sql}"
            );
            all_late += running.letters.len();
        }
    }
    assert!(all_late > 50, "some rows are late: {all_late}");
}

#[test]
fn a_row_is_late_exactly_when_the_watermark_has_passed_its_window() {
    let catalog = catalog(STREAMS);
    let sql = "SELECT window_start, COUNT(*) AS c FROM TUMBLE(TABLE s, DESCRIPTOR(ts), INTERVAL '10' SECOND)
        GROUP BY window_start, window_end EMIT FINAL";
    let time = |second: i64| {
        let text = format!("{{\"k\":null,\"v\":1,\"f\":null,\"d\":null,\"ts\":{}}}", second * 1_000);
        (None, Some(Bytes::from(text)))
    };
    // The watermark is 5 s behind the newest row of the epochs before.
    let feeds = Feeds::from([("s".to_owned(), vec![[14, 9, 15, 9, 10, 15, 4, 30].map(time).to_vec()])]);
    let mut running = Running::new(plan(sql, &catalog).unwrap(), &feeds);
    let mut seen = Vec::new();
    while !running.is_drained() {
        running.epoch(|_| 1, false);
        seen.push((running.watermark(), running.letters.len(), running.result().len()));
    }
    let expected = [
        (Some(9_000), 0, 0),
        (Some(9_000), 0, 0),
        (Some(10_000), 0, 1),
        (Some(10_000), 1, 1),
        (Some(10_000), 1, 1),
        (Some(10_000), 1, 1),
        (Some(10_000), 2, 1),
        (Some(25_000), 2, 2),
    ];
    assert_eq!(seen, expected);
    running.epoch(|_| 0, true);
    assert_eq!(
        running.result(),
        ["1970-01-01T00:00:00Z | 1", "1970-01-01T00:00:10Z | 4", "1970-01-01T00:00:30Z | 1"]
    );
}

#[test]
fn what_is_taken_back_leaves_no_trace_in_a_sum_of_floats() {
    let catalog = catalog(STREAMS);
    let row = |id: i64, f: &str| {
        let text = format!("{{\"id\":{id},\"k\":\"a\",\"v\":1,\"f\":{f},\"d\":null,\"ts\":0}}");
        (Some(Bytes::from(format!("{id}"))), Some(Bytes::from(text)))
    };
    let feeds = Feeds::from([(
        "t".to_owned(),
        vec![vec![
            row(1, "1e20"),
            row(2, "1.0"),
            row(3, "0.1"),
            row(1, "0.2"),
            (Some(Bytes::from("3")), None),
        ]],
    )]);
    let mut running =
        Running::new(plan("SELECT k, SUM(f) AS s, AVG(f) AS a FROM t GROUP BY k", &catalog).unwrap(), &feeds);
    while !running.is_drained() {
        running.epoch(|_| 1, false);
    }
    assert_eq!(running.result(), ["a | 1.2 | 0.6"]);
}

#[test]
fn an_aggregate_without_groups_has_a_row_before_it_has_read_any() {
    let catalog = catalog(STREAMS);
    let feeds = Feeds::from([("s".to_owned(), vec![Vec::new()])]);
    let mut running =
        Running::new(plan("SELECT COUNT(*) AS c, SUM(v) AS s FROM s", &catalog).unwrap(), &feeds);
    running.epoch(|_| 0, true);
    assert_eq!(running.result(), ["0 | ∅"]);
}
