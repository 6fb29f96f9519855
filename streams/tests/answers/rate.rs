//! How many records a second one core takes through the flights query; a number to watch, not a limit.
//!
//! `cargo test --release -p ottla-streams --test answers -- rate --ignored --nocapture`

use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use ottla_streams::runtime::{EpochInput, EpochRunner, InputRecord, Machine};
use ottla_streams::state::changelog::{Header, InputOffsets, InputPartition};
use ottla_streams::{Catalog, plan};

/// A year of departures from three airports, as the whole-year run has them.
const RECORDS: i64 = 336_776;
const EPOCH_RECORDS: i64 = 100_000;
const FIRST: InputPartition = InputPartition { source: 0, partition: 0 };

const FLIGHTS: &str = "CREATE STREAM flights (year INT, month INT, day INT, dep_time INT, sched_dep_time INT, dep_delay INT,
  arr_time INT, carrier STRING, flight INT, tailnum STRING, origin STRING NOT NULL, dest STRING, air_time INT, distance INT,
  time_hour TIMESTAMP NOT NULL);
SELECT origin, window_start, window_end, COUNT(*) AS flights, COUNT(*) FILTER (WHERE dep_time IS NULL) AS cancelled,
  COUNT(*) FILTER (WHERE dep_delay > 15) AS delayed, AVG(dep_delay) AS avg_dep_delay, MAX(dep_delay) AS max_dep_delay
FROM TUMBLE(TABLE flights, DESCRIPTOR(time_hour), INTERVAL '1' HOUR) GROUP BY origin, window_start, window_end";

fn flight(number: i64) -> InputRecord {
    let origin = ["JFK", "LGA", "EWR"][(number % 3) as usize];
    let (hour, day) = ((number / 45) % 24, 1 + (number / 1_080) % 28);
    let month = 1 + (number / 30_240) % 12;
    let (time, delay) = match number % 41 {
        0 => ("null".to_owned(), "null".to_owned()),
        _ => (format!("{}", hour * 100 + number % 60), format!("{}", number % 97 - 20)),
    };
    let text = format!(
        "{{\"year\":2013,\"month\":{month},\"day\":{day},\"dep_time\":{time},\"sched_dep_time\":{},\"dep_delay\":{delay},\
         \"arr_time\":1234,\"carrier\":\"UA\",\"flight\":{},\"tailnum\":\"N{}\",\"origin\":\"{origin}\",\"dest\":\"IAH\",\
         \"air_time\":227,\"distance\":1400,\"time_hour\":\"2013-{month:02}-{day:02}T{hour:02}:00:00Z\"}}",
        hour * 100,
        number % 4_000,
        number % 9_999,
    );
    InputRecord {
        offset: number,
        timestamp_ms: 0,
        key: Some(Bytes::from_static(origin.as_bytes())),
        value: Some(text.into()),
        headers: Vec::new(),
    }
}

#[test]
#[ignore = "prints a rate, which means something in release only"]
fn rate_of_the_flights_query() {
    let plan = Arc::new(plan(FLIGHTS, &Catalog::new()).unwrap());
    let runner = EpochRunner::new("hourly", Arc::clone(&plan), "json").unwrap();
    let mut machine = Machine::new(Header { query: "hourly".to_owned(), fingerprint: None }, plan.states());
    let records: Vec<InputRecord> = (0..RECORDS).map(flight).collect();
    let bytes: usize = records.iter().filter_map(|record| record.value.as_ref()).map(Bytes::len).sum();
    let epochs: Vec<EpochInput> = records
        .chunks(EPOCH_RECORDS as usize)
        .map(|chunk| EpochInput::from([(FIRST, chunk.to_vec())]))
        .collect();
    let (started, mut offset, mut outputs) = (Instant::now(), 0, 0);
    for input in &epochs {
        let end = input[&FIRST].last().unwrap().offset + 1;
        let cut =
            Machine::cut_after(machine.committed(), InputOffsets::from([(FIRST, end)]), Vec::new(), 0, false);
        let result = runner.run(machine.committed(), machine.states(), &cut, input).unwrap();
        outputs += result.outputs.len();
        for record in machine.decide_commit(&cut, &result) {
            let (key, value) = record.encode();
            machine.apply_bytes(offset, Some(&key), value.as_ref()).unwrap();
            offset += 1;
        }
    }
    let seconds = started.elapsed().as_secs_f64();
    println!(
        "{RECORDS} records of {} bytes in {seconds:.3} s: {:.0} records/s, {outputs} outputs, {} rows of state",
        bytes / records.len(),
        RECORDS as f64 / seconds,
        machine.states().len(),
    );
    assert_eq!(machine.committed().totals.rows_in, RECORDS as u64);
}
