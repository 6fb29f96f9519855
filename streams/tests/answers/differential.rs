//! Streaming answers against the batch answers of DataFusion over the same rows.
//!
//! A case is a seed: random tables, a random query over all operators, cut into random epochs with restarts between them.
//! What a reader has after an epoch, the last row of every key, must equal what DataFusion gives for the same query over
//! the rows read so far, to the last bit.

use bytes::Bytes;
use ottla_streams::plan;

use crate::case::{Case, for_each_seed};
use crate::harness::{Feeds, Random, Running, batch_answer, catalog};
use crate::queries::Query;
use crate::rows::{STREAMS, Times, feeds};

#[test]
fn random_queries_over_random_rows_give_the_batch_answer_at_every_epoch() {
    let catalog = catalog(STREAMS);
    for_each_seed(120, 1, &catalog, |random| {
        let feeds = feeds(&catalog, random, Times::Orderly);
        let query = Query::random(random);
        vec![Case::random(query, feeds, true, random)]
    });
}

#[test]
fn rows_that_are_there_twice_count_twice_in_every_aggregate() {
    let catalog = catalog(STREAMS);
    let row = |text: &str| (None, Some(Bytes::copy_from_slice(text.as_bytes())));
    let s = |f: &str| row(&format!(r#"{{"k":"a","v":2,"f":{f},"d":"1.00","ts":"1970-01-01T00:00:20Z"}}"#));
    let r = row(r#"{"k":"a","w":0,"ts":"1970-01-01T00:00:20Z"}"#);
    let feeds =
        Feeds::from([("s".to_owned(), vec![vec![s("1.0"), s("2.0")]]), ("r".to_owned(), vec![vec![r]])]);
    // Of the join's left rows only the columns that are used are left, and so two are alike.
    let sql = "SELECT median(v) AS m, stddev_pop(v) AS p, median(v) FILTER (WHERE v < 3) AS n FROM
       (SELECT b.w AS v FROM s JOIN r AS b ON s.k = b.k UNION ALL SELECT v + 1 FROM s)";
    let mut running = Running::new(plan(sql, &catalog).unwrap(), &feeds);
    running.epoch(|_| usize::MAX, false);
    assert_eq!(running.result(), batch_answer(sql, &catalog, &running.rows_read(&catalog)));
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
    for_each_seed(25, WINDOWED.len() as u64, &catalog, |random| {
        let feeds = feeds(&catalog, random, Times::Orderly);
        let case = |number: usize| {
            let is_final = random.once_in(2) && can_be_final(number);
            let sql = format!("{}{}", WINDOWED[number], if is_final { " EMIT FINAL" } else { "" });
            let planned = plan(&sql, &catalog).unwrap();
            assert_eq!(planned.warnings().is_empty(), number != KEEPS_GROUPS, "{planned}");
            let mut running = Running::new(planned, &feeds);
            running.epoch(|_| 7, false);
            running.epoch(|_| usize::MAX, false);
            running.epoch(|_| 0, true);
            if number != KEEPS_GROUPS {
                assert_eq!(running.state_rows(), 0, "{sql}");
            }
            Case::random(Query::Text(sql), feeds.clone(), !is_final, random)
        };
        (0..WINDOWED.len()).map(case).collect()
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
