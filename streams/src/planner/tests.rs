//! Goldens of plans and of refusals, as a reader would check them by eye.

use arrow::datatypes::{Field, Schema};
use std::sync::Arc;

use super::*;

fn catalog() -> Catalog {
    let columns = [
        ("origin", "string"),
        ("dest", "string?"),
        ("dep_time", "int?"),
        ("dep_delay", "int?"),
        ("time_hour", "timestamp"),
    ];
    let fields: Vec<Field> = columns
        .iter()
        .map(|(name, word)| {
            let (data_type, nullable) = ottla_formats::parse_type(word).unwrap();
            Field::new(*name, data_type, nullable)
        })
        .collect();
    let flights = Stream {
        topic: "flights".to_owned(),
        format: "json".to_owned(),
        schema: Arc::new(Schema::new(fields)),
        watermark: None,
        primary_key: None,
    };
    let watermark = Some(Watermark { column: "time_hour".to_owned(), delay_nanos: 60_000_000_000 });
    let timed = Stream { watermark, ..flights.clone() };
    Catalog::new().with("flights", flights).with("timed", timed)
}

fn golden(sql: &str) -> String {
    plan(sql, &catalog()).unwrap_or_else(|error| panic!("{} {error}\n{sql}", error.position)).to_string()
}

fn refusal(sql: &str) -> String {
    let error = plan(sql, &catalog()).expect_err(sql);
    format!("{}:{} {error}", error.position.line, error.position.column)
}

const FLIGHTS: &str = "SELECT origin, window_start, window_end, COUNT(*) AS flights, \
     COUNT(*) FILTER (WHERE dep_time IS NULL) AS cancelled, COUNT(*) FILTER (WHERE dep_delay > 15) AS delayed, \
     AVG(dep_delay) AS avg_dep_delay, MAX(dep_delay) AS max_dep_delay \
     FROM TUMBLE(TABLE flights, DESCRIPTOR(time_hour), INTERVAL '1' HOUR) \
     GROUP BY origin, window_start, window_end";

fn check(actual: &str, expected: &[&str]) {
    assert_eq!(actual.lines().collect::<Vec<_>>(), expected, "\n{actual}");
}

#[test]
fn the_flights_query_is_a_windowed_upsert_by_origin_and_window() {
    check(
        &golden(FLIGHTS),
        &[
            "Output upsert key=[origin, window_start] columns=[origin string, window_start timestamp?, window_end timestamp?, flights int, cancelled int, delayed int, avg_dep_delay double?, max_dep_delay int?]",
            "  Project [origin@0 AS origin, window_start@1 AS window_start, window_end@2 AS window_end, count(Int64(1))@3 AS flights, count(Int64(1)) FILTER (WHERE flights.dep_time IS NULL)@4 AS cancelled, count(Int64(1)) FILTER (WHERE flights.dep_delay > Int64(15))@5 AS delayed, avg(flights.dep_delay)@6 AS avg_dep_delay, max(flights.dep_delay)@7 AS max_dep_delay] | upsert key=[origin, window_start]",
            "    Aggregate group=[origin@0, window_start@3, window_end@4] aggregates=[count(Int64(1)) (Count), count(Int64(1)) FILTER (WHERE flights.dep_time IS NULL) (Count), count(Int64(1)) FILTER (WHERE flights.dep_delay > Int64(15)) (Count), avg(flights.dep_delay) (ExactAverage), max(flights.dep_delay) (Merged)] emit=changes | upsert key=[origin, window_start] state: one row per group, unbounded",
            "      Project [origin@0 AS origin, dep_time@1 AS dep_time, dep_delay@2 AS dep_delay, tumble_start_3600000(time_hour@3) AS window_start, tumble_end_3600000(time_hour@3) AS window_end] | append",
            "        Stream flights topic=flights format=json columns=[origin string, dep_time int?, dep_delay int?, time_hour timestamp] event_time=time_hour watermark=none | append",
        ],
    );
}

#[test]
fn both_spellings_of_tumble_give_one_plan() {
    let wrapped = FLIGHTS.replace("FROM TUMBLE(", "FROM TABLE(TUMBLE(").replace("HOUR)", "HOUR))");
    assert_eq!(golden(&wrapped), golden(FLIGHTS));
}

#[test]
fn a_stateless_query_appends_and_keeps_no_state() {
    check(
        &golden(
            "SELECT origin || '-' || dest AS route, CASE WHEN dep_delay > 15 THEN 'late' ELSE 'ok' END AS verdict FROM flights WHERE dep_delay IS NOT NULL",
        ),
        &[
            "Output append key=[] columns=[route string?, verdict string]",
            "  Project [origin@0 || - || dest@1 AS route, CASE WHEN dep_delay@2 > 15 THEN late ELSE ok END AS verdict] | append",
            "    Filter dep_delay@2 IS NOT NULL | append",
            "      Stream flights topic=flights format=json columns=[origin string, dest string?, dep_delay int?] | append",
        ],
    );
}

#[test]
fn emit_final_appends_when_the_watermark_closes_a_window() {
    let sql = FLIGHTS.replace("TABLE flights", "TABLE timed") + " EMIT FINAL";
    check(
        &golden(&sql),
        &[
            "Output append key=[origin, window_start] columns=[origin string, window_start timestamp?, window_end timestamp?, flights int, cancelled int, delayed int, avg_dep_delay double?, max_dep_delay int?]",
            "  Project [origin@0 AS origin, window_start@1 AS window_start, window_end@2 AS window_end, count(Int64(1))@3 AS flights, count(Int64(1)) FILTER (WHERE timed.dep_time IS NULL)@4 AS cancelled, count(Int64(1)) FILTER (WHERE timed.dep_delay > Int64(15))@5 AS delayed, avg(timed.dep_delay)@6 AS avg_dep_delay, max(timed.dep_delay)@7 AS max_dep_delay] | append key=[origin, window_start]",
            "    Aggregate group=[origin@0, window_start@3, window_end@4] aggregates=[count(Int64(1)) (Count), count(Int64(1)) FILTER (WHERE timed.dep_time IS NULL) (Count), count(Int64(1)) FILTER (WHERE timed.dep_delay > Int64(15)) (Count), avg(timed.dep_delay) (ExactAverage), max(timed.dep_delay) (Merged)] closes=window_start+3600000ms emit=final | append key=[origin, window_start] state: bounded by the watermark",
            "      Project [origin@0 AS origin, dep_time@1 AS dep_time, dep_delay@2 AS dep_delay, tumble_start_3600000(time_hour@3) AS window_start, tumble_end_3600000(time_hour@3) AS window_end] | append",
            "        Stream timed topic=flights format=json columns=[origin string, dep_time int?, dep_delay int?, time_hour timestamp] event_time=time_hour watermark_delay=60000ms | append",
        ],
    );
}

#[test]
fn a_group_without_window_is_an_unbounded_upsert() {
    check(
        &golden(
            "SELECT dest, SUM(dep_delay) AS s FROM flights WHERE origin = 'JFK' GROUP BY dest HAVING SUM(dep_delay) > 10",
        ),
        &[
            "Output upsert key=[dest] columns=[dest string?, s int?]",
            "  Project [dest@0 AS dest, sum(flights.dep_delay)@1 AS s] | upsert key=[dest]",
            "    Filter sum(flights.dep_delay)@1 > 10 | upsert key=[dest]",
            "      Aggregate group=[dest@0] aggregates=[sum(flights.dep_delay) (Sum)] emit=changes | upsert key=[dest] state: one row per group, unbounded",
            "        Project [dest@1 AS dest, dep_delay@2 AS dep_delay] | append",
            "          Filter origin@0 = JFK | append",
            "            Stream flights topic=flights format=json columns=[origin string, dest string?, dep_delay int?] | append",
        ],
    );
}

#[test]
fn what_cannot_run_yet_is_refused_at_its_place() {
    for (sql, expected) in [
        (
            "SELECT origin FROM flights ORDER BY origin",
            "1:37 ORDER BY cannot run on a stream yet; a topic has its own order; sort where the result is read",
        ),
        (
            "SELECT origin FROM flights LIMIT 3",
            "1:34 LIMIT cannot run on a stream yet; a stream does not end; limit where the result is read",
        ),
        (
            "SELECT a.origin FROM flights a\n RIGHT JOIN timed b ON a.dest = b.dest",
            "2:13 this kind of join cannot run on a stream yet; there are INNER and LEFT joins; for RIGHT turn the sides round",
        ),
        (
            "SELECT origin FROM flights INTERSECT SELECT dest FROM flights",
            "1:1 INTERSECT cannot run on a stream yet; join on all columns instead",
        ),
        (
            "SELECT origin, now() FROM flights",
            "1:16 `now`, which answers differently each time it is asked, cannot run on a stream yet; a restarted query must give the same answer; use a column of the stream",
        ),
        (
            "SELECT rank() OVER (PARTITION BY origin) FROM flights",
            "1:8 this window function (OVER) cannot run on a stream yet; there is ROW_NUMBER() OVER (PARTITION BY … ORDER BY …), of which the first numbers are kept",
        ),
        (
            "SELECT row_number() OVER (PARTITION BY origin) FROM flights",
            "1:1 ROW_NUMBER() cannot run on a stream without a limit; keep the first numbers only: … WHERE rn <= 10, around the SELECT that numbers as rn",
        ),
        (
            "SELECT f.origin, t.dest FROM flights f LEFT JOIN timed t ON f.dest = t.dest",
            "1:1 rows of this result are taken back later, and nothing tells them apart in a topic; declare what it joins as tables with a PRIMARY KEY and select their keys, group the result, or use EMIT FINAL so that every row stands",
        ),
        (
            "SELECT COUNT(*) FROM flights GROUP BY origin",
            "1:1 the column `origin` is not in SELECT, so the updates of two rows could not be told apart; select `origin` too",
        ),
        (
            "SELECT origin FROM flights EMIT FINAL",
            "1:28 EMIT FINAL waits for windows to close, and this query groups by none; leave it out, or group by window_start and window_end of TUMBLE, HOP or SESSION",
        ),
        (
            "SELECT origin, COUNT(*) FROM flights GROUP BY origin EMIT FINAL",
            "1:54 EMIT FINAL waits for windows to close, and this query groups by none; leave it out, or group by window_start and window_end of TUMBLE, HOP or SESSION",
        ),
        (
            "SELECT origin FROM flights WHERE dest IN (SELECT dest FROM timed)",
            "1:34 a subquery inside an expression cannot run on a stream yet; join with the subquery instead",
        ),
        (
            "SELECT origin, first_value(dest) FROM flights GROUP BY origin",
            "1:1 first_value depends on the order of rows, which a stream of partitions does not have; give it one, as in first_value(… ORDER BY time)",
        ),
        (
            "SELECT * FROM HOP(TABLE flights, DESCRIPTOR(time_hour), INTERVAL '1' HOUR)",
            "1:15 HOP takes a stream, a time column, a slide and a size, and here are 3; write HOP(TABLE flights, DESCRIPTOR(time_hour), INTERVAL '10' MINUTE, INTERVAL '1' HOUR)",
        ),
    ] {
        assert_eq!(refusal(sql), expected, "{sql}");
    }
}

#[test]
fn wrong_names_and_types_are_found_with_the_nearest_right_word() {
    for (sql, expected) in [
        ("SELECT orign FROM flights", "1:8 there is no column `orign`; did you mean `origin`?"),
        ("SELECT origin\nFROM fligths", "2:6 there is no stream `fligths`; did you mean `flights`?"),
        (
            "SELECT origin, COUNTT(*) FROM flights",
            "1:16 there is no function `COUNTT`; did you mean `count`?",
        ),
        (
            "SELECT TABLE flights FROM flights",
            "1:8 `TABLE flights` is no value; TABLE stands before a stream inside TUMBLE",
        ),
        (
            "SELECT * FROM TUMBLE(TABLE flights, DESCRIPTOR(time_hours), INTERVAL '1' HOUR)",
            "1:48 there is no column `time_hours` to make windows of; did you mean `time_hour`?",
        ),
        (
            "SELECT * FROM TUMBLE(TABLE flights, DESCRIPTOR(origin), INTERVAL '1' HOUR)",
            "1:48 the column `origin` is a string, and windows need a timestamp",
        ),
        (
            "SELECT * FROM TUMBLE(TABLE flights, DESCRIPTOR(time_hour), INTERVAL '1' MONTH)",
            "1:69 months have no fixed length; use days or hours",
        ),
        (
            "SELECT * FROM TUMBLE(TABLE flights, DESCRIPTOR(time_hour))",
            "1:15 TUMBLE takes a stream, a time column and a size, and here are 2; write TUMBLE(TABLE flights, DESCRIPTOR(time_hour), INTERVAL '1' HOUR)",
        ),
        (
            "SELECT origin, dest, COUNT(*) FROM flights GROUP BY origin",
            "1:16 'flights.dest' must appear in GROUP BY clause because it's not an aggregate expression",
        ),
        (
            "SELECT origin + INTERVAL '1' DAY FROM flights WHERE dest > TRUE",
            "1:8 expressions have incompatible types",
        ),
        (
            "SELECT origin FROM flights; SELECT dest FROM flights",
            "1:29 this is a second query, and a plan has one; give each query its own name",
        ),
        (
            "CREATE STREAM flights (a INT); SELECT a FROM flights",
            "1:1 the stream `flights` is declared already",
        ),
        ("", "1:1 there is no query here; a plan needs one SELECT"),
    ] {
        assert_eq!(refusal(sql), expected, "{sql}");
    }
}

#[test]
fn a_subquery_that_is_written_twice_is_run_once() {
    let counts = "(SELECT k, COUNT(*) AS n FROM s GROUP BY k)";
    let sql = format!(
        "CREATE STREAM s (k STRING, v INT); SELECT a.k, a.n, b.n AS m FROM {counts} a JOIN {counts} b ON a.k = b.k"
    );
    let plan = plan(&sql, &Catalog::new()).unwrap();
    let aggregates = plan.nodes.iter().filter(|node| matches!(node.operator, Operator::Aggregate(_)));
    assert_eq!(aggregates.count(), 1, "{plan}");
}
