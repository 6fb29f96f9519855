//! The queries of Nexmark against the batch answer over the same events, plain and with restarts.
//! `OTTLA_NEXMARK_EVENTS` sets how many events, `OTTLA_NEXMARK_QUERY` which query.

use ottla_streams::nexmark::{STREAMS, queries};
use ottla_streams::{Catalog, plan};

use crate::harness::{Feed, Feeds, Random, Running, batch_answer, catalog};

/// Few enough that few events span many windows.
const EVENTS_PER_SECOND: usize = 100;

/// The first events, each topic over two partitions.
fn events(count: usize) -> Feeds {
    let mut feeds = Feeds::new();
    for stream in ["person", "auction", "bid"] {
        feeds.insert(stream.to_owned(), vec![Vec::new(), Vec::new()]);
    }
    for (number, (stream, value)) in ottla_streams::nexmark::events(count, EVENTS_PER_SECOND).enumerate() {
        let feed: &mut Feed = feeds.get_mut(stream).unwrap();
        feed[number % 2].push((None, Some(value)));
    }
    feeds
}

/// Runs a query in epochs of about this many events, restarted or not after each.
fn check(name: &str, sql: &str, catalog: &Catalog, feeds: &Feeds, epoch_events: usize, restarts: bool) {
    let planned = plan(sql, catalog).unwrap_or_else(|error| panic!("{name}: {} {error}", error.position));
    let is_bounded = planned.to_string().contains("bounded by the watermark");
    let mut running = Running::new(planned, feeds);
    let mut random = Random::new(feeds.len() as u64);
    while !running.is_drained() {
        // Topics are as large as Nexmark's proportions, and all advance together, more or less.
        let share = epoch_events / 100 + random.below(epoch_events as u64 / 50) as usize;
        let proportion = |stream: &str| match stream {
            "person" => 1,
            "auction" => 3,
            _ => 46,
        };
        running.epoch(|stream| share * proportion(stream), false);
        if restarts {
            running.restart();
        }
    }
    running.epoch(|_| 0, true);
    assert!(running.letters.is_empty(), "{name}: no event is late");
    let expected = batch_answer(sql, catalog, &running.rows_read(catalog));
    assert!(!expected.is_empty() || feeds["bid"][0].len() < 4_000, "{name} has an answer");
    let found = running.result();
    assert_eq!(found.len(), expected.len(), "{name}");
    for (found, expected) in found.iter().zip(&expected) {
        assert_eq!(found, expected, "{name}");
    }
    if is_bounded {
        println!("{name}: {} rows, {} rows of state left", found.len(), running.state_rows());
    }
}

#[test]
fn nexmark_gives_the_batch_answer() {
    let count =
        std::env::var("OTTLA_NEXMARK_EVENTS").ok().and_then(|text| text.parse().ok()).unwrap_or(5_000);
    let only = std::env::var("OTTLA_NEXMARK_QUERY").ok();
    let (catalog, feeds) = (catalog(STREAMS), events(count));
    for (name, sql) in queries() {
        if only.as_ref().is_some_and(|only| only != name) {
            continue;
        }
        check(name, &sql, &catalog, &feeds, count / 4, false);
        check(name, &sql, &catalog, &feeds, count / 10, true);
    }
}
