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
    check(&golden(FLIGHTS), &[]);
}

#[test]
fn both_spellings_of_tumble_give_one_plan() {
    let wrapped = FLIGHTS.replace("FROM TUMBLE(", "FROM TABLE(TUMBLE(").replace("HOUR)", "HOUR))");
    assert_eq!(golden(&wrapped), golden(FLIGHTS));
}

#[test]
fn a_stateless_query_filters_before_it_projects() {
    check(
        &golden(
            "SELECT origin || '-' || dest AS route, CASE WHEN dep_delay > 15 THEN 'late' ELSE 'ok' END AS verdict FROM flights WHERE dep_delay IS NOT NULL",
        ),
        &[],
    );
}

#[test]
fn emit_final_appends_when_the_watermark_closes_a_window() {
    let sql = FLIGHTS.replace("TABLE flights", "TABLE timed") + " EMIT FINAL";
    check(&golden(&sql), &[]);
}

#[test]
fn a_group_without_window_is_an_unbounded_upsert() {
    check(
        &golden(
            "SELECT dest, SUM(dep_delay) AS s FROM flights WHERE origin = 'JFK' GROUP BY dest HAVING SUM(dep_delay) > 10",
        ),
        &[],
    );
}

#[test]
fn what_cannot_run_yet_is_refused_at_its_place() {
    for (sql, expected) in [
        ("SELECT origin FROM flights ORDER BY origin", ""),
        ("SELECT origin FROM flights LIMIT 3", ""),
        ("SELECT a.origin FROM flights a\n JOIN timed b ON a.dest = b.dest", ""),
        ("SELECT origin FROM flights UNION ALL SELECT dest FROM flights", ""),
        ("SELECT origin, now() FROM flights", ""),
        ("SELECT row_number() OVER (PARTITION BY origin) FROM flights", ""),
        (
            "SELECT dest, COUNT(*) FROM (SELECT dest, origin, COUNT(*) AS c FROM flights GROUP BY dest, origin) GROUP BY dest",
            "",
        ),
        ("SELECT COUNT(*) FROM flights GROUP BY origin", ""),
        ("SELECT origin FROM flights EMIT FINAL", ""),
        ("SELECT origin, COUNT(*) FROM flights GROUP BY origin EMIT FINAL", ""),
        ("SELECT origin FROM flights WHERE dest IN (SELECT dest FROM timed)", ""),
        ("SELECT origin, array_agg(dest) FROM flights GROUP BY origin", ""),
        ("SELECT * FROM HOP(TABLE flights, DESCRIPTOR(time_hour), INTERVAL '1' HOUR)", ""),
    ] {
        assert_eq!(refusal(sql), expected, "{sql}");
    }
}

#[test]
fn wrong_names_and_types_are_found_with_the_nearest_right_word() {
    for (sql, expected) in [
        ("SELECT orign FROM flights", ""),
        ("SELECT origin\nFROM fligths", ""),
        ("SELECT origin, COUNTT(*) FROM flights", ""),
        ("SELECT TABLE flights FROM flights", ""),
        ("SELECT * FROM TUMBLE(TABLE flights, DESCRIPTOR(time_hours), INTERVAL '1' HOUR)", ""),
        ("SELECT * FROM TUMBLE(TABLE flights, DESCRIPTOR(origin), INTERVAL '1' HOUR)", ""),
        ("SELECT * FROM TUMBLE(TABLE flights, DESCRIPTOR(time_hour), INTERVAL '1' MONTH)", ""),
        ("SELECT * FROM TUMBLE(TABLE flights, DESCRIPTOR(time_hour))", ""),
        ("SELECT origin, dest, COUNT(*) FROM flights GROUP BY origin", ""),
        ("SELECT origin + INTERVAL '1' DAY FROM flights WHERE dest > TRUE", ""),
        ("SELECT origin FROM flights; SELECT dest FROM flights", ""),
        ("CREATE STREAM flights (a INT); SELECT a FROM flights", ""),
        ("", ""),
    ] {
        assert_eq!(refusal(sql), expected, "{sql}");
    }
}
