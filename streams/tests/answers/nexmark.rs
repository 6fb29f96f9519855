//! The queries of Nexmark against the batch answer over the same events, plain and with restarts.
//!
//! The text of a query is Flink's but for names of functions, and for what ROW_NUMBER is ordered by: where rows could tie,
//! further columns break the tie, so that there is one right answer; this
//! generator writes states in small letters. `OTTLA_NEXMARK_EVENTS` sets how many events.

use bytes::Bytes;
use nexmark::EventGenerator;
use nexmark::config::NexmarkConfig;
use nexmark::event::Event;
use ottla_streams::{Catalog, plan};
use serde_json::json;

use crate::harness::{Feed, Feeds, Random, Running, batch_answer, catalog};

const STREAMS: &str = "
    CREATE STREAM person (id INT NOT NULL, name STRING, emailAddress STRING, creditCard STRING, city STRING, state STRING,
      dateTime TIMESTAMP NOT NULL, extra STRING, WATERMARK FOR dateTime AS dateTime - INTERVAL '4' SECOND);
    CREATE STREAM auction (id INT NOT NULL, itemName STRING, description STRING, initialBid INT, reserve INT,
      dateTime TIMESTAMP NOT NULL, expires TIMESTAMP, seller INT, category INT, extra STRING,
      WATERMARK FOR dateTime AS dateTime - INTERVAL '4' SECOND);
    CREATE STREAM bid (auction INT NOT NULL, bidder INT, price INT, channel STRING, url STRING,
      dateTime TIMESTAMP NOT NULL, extra STRING, WATERMARK FOR dateTime AS dateTime - INTERVAL '4' SECOND);";

const COUNTS_BY_WINDOW: &str =
    "SELECT auction, COUNT(*) AS num, window_start AS starttime, window_end AS endtime
    FROM TABLE(HOP(TABLE bid, DESCRIPTOR(dateTime), INTERVAL '2' SECOND, INTERVAL '10' SECOND))
    GROUP BY auction, window_start, window_end";

fn queries() -> Vec<(&'static str, String)> {
    let bids_by_day = "COUNT(*) AS total_bids, COUNT(*) FILTER (WHERE price < 10000) AS rank1_bids,
        COUNT(*) FILTER (WHERE price >= 10000 AND price < 1000000) AS rank2_bids,
        COUNT(*) FILTER (WHERE price >= 1000000) AS rank3_bids";
    let day = "to_char(dateTime, '%Y-%m-%d')";
    vec![
        ("q0", "SELECT auction, bidder, price, dateTime, extra FROM bid".to_owned()),
        ("q1", "SELECT auction, bidder, 0.908 * price AS price, dateTime, extra FROM bid".to_owned()),
        ("q2", "SELECT auction, price FROM bid WHERE auction % 123 = 0".to_owned()),
        (
            "q3",
            "SELECT P.name, P.city, P.state, A.id FROM auction AS A INNER JOIN person AS P ON A.seller = P.id
             WHERE A.category = 10 AND (P.state = 'or' OR P.state = 'id' OR P.state = 'ca')"
                .to_owned(),
        ),
        (
            "q4",
            "SELECT Q.category, AVG(Q.final) AS average FROM (
               SELECT MAX(B.price) AS final, A.category FROM auction A, bid B
               WHERE A.id = B.auction AND B.dateTime BETWEEN A.dateTime AND A.expires GROUP BY A.id, A.category
             ) Q GROUP BY Q.category"
                .to_owned(),
        ),
        (
            "q5",
            format!(
                "SELECT AuctionBids.auction, AuctionBids.num FROM ({COUNTS_BY_WINDOW}) AS AuctionBids JOIN (
                   SELECT MAX(CountBids.num) AS maxn, CountBids.starttime, CountBids.endtime
                   FROM ({COUNTS_BY_WINDOW}) AS CountBids GROUP BY CountBids.starttime, CountBids.endtime
                 ) AS MaxBids ON AuctionBids.starttime = MaxBids.starttime AND AuctionBids.endtime = MaxBids.endtime
                   AND AuctionBids.num >= MaxBids.maxn EMIT FINAL"
            ),
        ),
        (
            "q7",
            "SELECT B.auction, B.price, B.bidder, B.dateTime, B.extra FROM bid B JOIN (
               SELECT MAX(price) AS maxprice, window_end AS dateTime
               FROM TABLE(TUMBLE(TABLE bid, DESCRIPTOR(dateTime), INTERVAL '10' SECOND)) GROUP BY window_start, window_end
             ) B1 ON B.price = B1.maxprice
             WHERE B.dateTime BETWEEN B1.dateTime - INTERVAL '10' SECOND AND B1.dateTime EMIT FINAL"
                .to_owned(),
        ),
        (
            "q8",
            "SELECT P.id, P.name, P.starttime FROM (
               SELECT id, name, window_start AS starttime, window_end AS endtime
               FROM TABLE(TUMBLE(TABLE person, DESCRIPTOR(dateTime), INTERVAL '10' SECOND))
               GROUP BY id, name, window_start, window_end
             ) P JOIN (
               SELECT seller, window_start AS starttime, window_end AS endtime
               FROM TABLE(TUMBLE(TABLE auction, DESCRIPTOR(dateTime), INTERVAL '10' SECOND))
               GROUP BY seller, window_start, window_end
             ) A ON P.id = A.seller AND P.starttime = A.starttime AND P.endtime = A.endtime"
                .to_owned(),
        ),
        (
            "q9",
            "SELECT id, itemName, description, initialBid, reserve, dateTime, expires, seller, category, extra, auction,
               bidder, price, bid_dateTime, bid_extra FROM (
               SELECT A.*, B.auction, B.bidder, B.price, B.dateTime AS bid_dateTime, B.extra AS bid_extra,
                 ROW_NUMBER() OVER (PARTITION BY A.id ORDER BY B.price DESC, B.dateTime ASC, B.extra, B.bidder) AS rownum
               FROM auction A, bid B WHERE A.id = B.auction AND B.dateTime BETWEEN A.dateTime AND A.expires
             ) WHERE rownum <= 1"
                .to_owned(),
        ),
        (
            "q11",
            "SELECT bidder, COUNT(*) AS bid_count, window_start AS starttime, window_end AS endtime
             FROM TABLE(SESSION(TABLE bid PARTITION BY bidder, DESCRIPTOR(dateTime), INTERVAL '10' SECOND))
             GROUP BY bidder, window_start, window_end"
                .to_owned(),
        ),
        (
            "q15",
            format!(
                "SELECT {day} AS \"day\", {bids_by_day}, COUNT(DISTINCT bidder) AS total_bidders,
                   COUNT(DISTINCT bidder) FILTER (WHERE price < 10000) AS rank1_bidders,
                   COUNT(DISTINCT bidder) FILTER (WHERE price >= 10000 AND price < 1000000) AS rank2_bidders,
                   COUNT(DISTINCT bidder) FILTER (WHERE price >= 1000000) AS rank3_bidders,
                   COUNT(DISTINCT auction) AS total_auctions,
                   COUNT(DISTINCT auction) FILTER (WHERE price < 10000) AS rank1_auctions,
                   COUNT(DISTINCT auction) FILTER (WHERE price >= 10000 AND price < 1000000) AS rank2_auctions,
                   COUNT(DISTINCT auction) FILTER (WHERE price >= 1000000) AS rank3_auctions
                 FROM bid GROUP BY {day}"
            ),
        ),
        (
            "q17",
            format!(
                "SELECT auction, {day} AS \"day\", {bids_by_day}, MIN(price) AS min_price, MAX(price) AS max_price,
                   AVG(price) AS avg_price, SUM(price) AS sum_price FROM bid GROUP BY auction, {day}"
            ),
        ),
        (
            "q18",
            "SELECT auction, bidder, price, channel, url, dateTime, extra FROM (
               SELECT *, ROW_NUMBER() OVER (PARTITION BY bidder, auction ORDER BY dateTime DESC, extra, price) AS rank_number
               FROM bid) WHERE rank_number <= 1"
                .to_owned(),
        ),
        (
            "q19",
            "SELECT * FROM (SELECT *, ROW_NUMBER() OVER (PARTITION BY auction ORDER BY price DESC, extra, dateTime, bidder)
               AS rank_number FROM bid) WHERE rank_number <= 10"
                .to_owned(),
        ),
        (
            "q20",
            "SELECT auction, bidder, price, channel, url, B.dateTime AS bid_dateTime, B.extra AS bid_extra, itemName,
               description, initialBid, reserve, A.dateTime AS auction_dateTime, expires, seller, category,
               A.extra AS auction_extra FROM bid AS B INNER JOIN auction AS A ON B.auction = A.id WHERE A.category = 10"
                .to_owned(),
        ),
        (
            "q22",
            "SELECT auction, bidder, price, channel, split_part(url, '/', 4) AS dir1, split_part(url, '/', 5) AS dir2,
               split_part(url, '/', 6) AS dir3 FROM bid"
                .to_owned(),
        ),
        (
            "q5 with its windows, as changes",
            format!(
                "SELECT AuctionBids.starttime, AuctionBids.auction, AuctionBids.num FROM ({COUNTS_BY_WINDOW}) AS AuctionBids
                 JOIN (SELECT MAX(CountBids.num) AS maxn, CountBids.starttime, CountBids.endtime
                   FROM ({COUNTS_BY_WINDOW}) AS CountBids GROUP BY CountBids.starttime, CountBids.endtime
                 ) AS MaxBids ON AuctionBids.starttime = MaxBids.starttime AND AuctionBids.endtime = MaxBids.endtime
                   AND AuctionBids.num >= MaxBids.maxn"
            ),
        ),
    ]
}

/// 2022-01-01; 100 events a second, so that few events span many windows, and
/// fixed, so that events are the same whenever the test runs.
const BASE_TIME_MS: u64 = 1_640_995_200_000;

/// The first events, each topic over two partitions.
fn events(count: usize) -> Feeds {
    let config = NexmarkConfig {
        base_time: BASE_TIME_MS,
        first_rate: 100,
        next_rate: 100,
        ..NexmarkConfig::default()
    };
    let mut feeds = Feeds::new();
    for stream in ["person", "auction", "bid"] {
        feeds.insert(stream.to_owned(), vec![Vec::new(), Vec::new()]);
    }
    for (number, event) in EventGenerator::new(config).take(count).enumerate() {
        let (stream, value) = match event {
            Event::Person(person) => (
                "person",
                json!({
                    "id": person.id, "name": person.name, "emailAddress": person.email_address,
                    "creditCard": person.credit_card, "city": person.city, "state": person.state,
                    "dateTime": person.date_time, "extra": person.extra,
                }),
            ),
            Event::Auction(auction) => (
                "auction",
                json!({
                    "id": auction.id, "itemName": auction.item_name, "description": auction.description,
                    "initialBid": auction.initial_bid, "reserve": auction.reserve, "dateTime": auction.date_time,
                    "expires": auction.expires, "seller": auction.seller, "category": auction.category,
                    "extra": auction.extra,
                }),
            ),
            Event::Bid(bid) => (
                "bid",
                json!({
                    "auction": bid.auction, "bidder": bid.bidder, "price": bid.price, "channel": bid.channel,
                    "url": bid.url, "dateTime": bid.date_time, "extra": bid.extra,
                }),
            ),
        };
        let feed: &mut Feed = feeds.get_mut(stream).unwrap();
        feed[number % 2].push((None, Some(Bytes::from(value.to_string()))));
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
