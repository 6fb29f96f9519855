//! The binary as a process, the flights pipeline, and the answer that a batch query over the same CSV gives.

#![allow(dead_code, reason = "each test binary uses its own part")]

pub mod serving;

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

pub fn ottla() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ottla"));
    command.stdin(Stdio::null());
    command
}

pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the crate lies in the workspace")
}

pub fn flights_pipeline() -> PathBuf {
    root().join("pipelines/flights/pipeline.yaml")
}

pub fn january() -> PathBuf {
    root().join("pipelines/flights/data/flights-2013-01.csv")
}

/// Kills the process when it goes out of scope, so that no test leaves one behind.
pub struct Running(pub Child);

impl Running {
    pub fn kill(&mut self) {
        // It may have ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.kill();
    }
}

pub fn text(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

/// A row of `hourly_departures`, as text, so that comparing is exact.
pub type Row = Vec<String>;

const COLUMNS: &str =
    "origin, window_start, window_end, flights, cancelled, delayed, avg_dep_delay, max_dep_delay";

pub fn result(database: &Path) -> Vec<Row> {
    let database = rusqlite::Connection::open(database).expect("the sink made the database");
    rows(&database, &format!("SELECT {COLUMNS} FROM hourly_departures ORDER BY origin, window_start"))
}

/// The same question asked of the CSV by SQLite itself, which shares no code with the pipeline.
pub fn expected(csv: &str) -> Vec<Row> {
    let database = rusqlite::Connection::open_in_memory().expect("SQLite works");
    database
        .execute_batch(
            "CREATE TABLE flights (origin TEXT, time_hour TEXT, dep_time INT, dep_delay INT); BEGIN",
        )
        .expect("the schema is right");
    let mut lines = csv.lines();
    let header: Vec<&str> = lines.next().expect("a header").split(',').collect();
    let column = |name: &str| header.iter().position(|column| *column == name).expect("the column is there");
    let (origin, time_hour, dep_time, dep_delay) =
        (column("origin"), column("time_hour"), column("dep_time"), column("dep_delay"));
    let mut insert = database.prepare("INSERT INTO flights VALUES (?, ?, ?, ?)").expect("it fits the schema");
    for line in lines {
        let fields: Vec<&str> = line.split(',').collect();
        let number = |at: usize| fields[at].parse::<i64>().ok();
        insert
            .execute((fields[origin], fields[time_hour], number(dep_time), number(dep_delay)))
            .expect("a row is inserted");
    }
    rows(
        &database,
        "SELECT origin, strftime('%Y-%m-%dT%H:00:00Z', time_hour) AS start,
                strftime('%Y-%m-%dT%H:00:00Z', time_hour, '+1 hour'), COUNT(*),
                COUNT(*) FILTER (WHERE dep_time IS NULL), COUNT(*) FILTER (WHERE dep_delay > 15),
                AVG(dep_delay), MAX(dep_delay)
         FROM flights GROUP BY origin, start ORDER BY origin, start",
    )
}

fn rows(database: &rusqlite::Connection, sql: &str) -> Vec<Row> {
    let mut statement = database.prepare(sql).expect("the query is right");
    let columns = statement.column_count();
    let rows = statement.query_map([], |row| {
        (0..columns)
            .map(|column| {
                Ok(match row.get_ref(column)? {
                    rusqlite::types::ValueRef::Null => "NULL".to_owned(),
                    rusqlite::types::ValueRef::Integer(value) => value.to_string(),
                    rusqlite::types::ValueRef::Real(value) => format!("{value:?}"),
                    rusqlite::types::ValueRef::Text(value) => String::from_utf8_lossy(value).into_owned(),
                    rusqlite::types::ValueRef::Blob(value) => format!("{value:?}"),
                })
            })
            .collect()
    });
    rows.expect("the query runs").collect::<Result<_, _>>().expect("rows can be read")
}

/// A small generator with a seed, for the moments at which processes are killed.
pub struct Random(pub u64);

impl Random {
    pub fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % bound
    }
}
