//! Nexmark: an auction's events and the queries over them, for tests and for `ottla bench sql`.
//!
//! The text of a query is Flink's but for names of functions, and for what ROW_NUMBER is ordered by: where rows could tie,
//! further columns break the tie, so that there is one right answer. The generator is that of the crate `nexmark`, which
//! writes states in small letters. Of 50 events one is a person, three are auctions and 46 are bids.

use std::io::Write;

use bytes::Bytes;
use nexmark::EventGenerator;
use nexmark::config::NexmarkConfig;
use nexmark::event::Event;

/// The declarations of the three streams.
pub const STREAMS: &str = "
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

/// The queries and their names.
pub fn queries() -> Vec<(&'static str, String)> {
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

/// 2022-01-01, so that events are the same whenever they are made.
const BASE_TIME_MS: u64 = 1_640_995_200_000;

/// The first events, as the stream each belongs to and a JSON object with the fields in their declared order. There are
/// `events_per_second` of them in a second of event time.
pub fn events(count: usize, events_per_second: usize) -> impl Iterator<Item = (&'static str, Bytes)> {
    let config = NexmarkConfig {
        base_time: BASE_TIME_MS,
        first_rate: events_per_second,
        next_rate: events_per_second,
        ..NexmarkConfig::default()
    };
    EventGenerator::new(config).take(count).map(|event| match event {
        Event::Person(person) => {
            let mut object = Object::begin();
            object.number("id", person.id as u64).text("name", &person.name);
            object.text("emailAddress", &person.email_address).text("creditCard", &person.credit_card);
            object.text("city", &person.city).text("state", &person.state);
            object.number("dateTime", person.date_time).text("extra", &person.extra);
            ("person", object.end())
        }
        Event::Auction(auction) => {
            let mut object = Object::begin();
            object.number("id", auction.id as u64).text("itemName", &auction.item_name);
            object.text("description", &auction.description).number("initialBid", auction.initial_bid as u64);
            object.number("reserve", auction.reserve as u64).number("dateTime", auction.date_time);
            object.number("expires", auction.expires).number("seller", auction.seller as u64);
            object.number("category", auction.category as u64).text("extra", &auction.extra);
            ("auction", object.end())
        }
        Event::Bid(bid) => {
            let mut object = Object::begin();
            object.number("auction", bid.auction as u64).number("bidder", bid.bidder as u64);
            object.number("price", bid.price as u64).text("channel", &bid.channel).text("url", &bid.url);
            object.number("dateTime", bid.date_time).text("extra", &bid.extra);
            ("bid", object.end())
        }
    })
}

/// A JSON object as it is written.
struct Object(Vec<u8>);

impl Object {
    fn begin() -> Object {
        Object(b"{".to_vec())
    }

    fn name(&mut self, name: &str) {
        if self.0.len() > 1 {
            self.0.push(b',');
        }
        self.text_value(name);
        self.0.push(b':');
    }

    fn number(&mut self, name: &str, value: u64) -> &mut Object {
        self.name(name);
        // Writing to memory has no way to fail.
        let _always = write!(self.0, "{value}");
        self
    }

    fn text(&mut self, name: &str, value: &str) -> &mut Object {
        self.name(name);
        self.text_value(value);
        self
    }

    fn text_value(&mut self, value: &str) {
        let _always = serde_json::to_writer(&mut self.0, value);
    }

    fn end(mut self) -> Bytes {
        self.0.push(b'}');
        Bytes::from(self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_are_the_same_every_time_and_have_the_declared_fields() {
        let first: Vec<_> = events(100, 1_000).collect();
        assert_eq!(first, events(100, 1_000).collect::<Vec<_>>());
        let count = |stream| first.iter().filter(|(of, _)| *of == stream).count();
        assert_eq!((count("person"), count("auction"), count("bid")), (2, 6, 92));
        let mut catalog = crate::Catalog::new();
        for statement in crate::sql::parse(STREAMS).unwrap() {
            let crate::sql::Statement::CreateStream(create) = statement else { panic!("{statement:?}") };
            catalog.declare(create).unwrap();
        }
        let json = ottla_formats::format_named("json").unwrap();
        for (stream, event) in &first {
            let decoded = json.decode(&[event], &catalog.get(stream).unwrap().schema).unwrap();
            assert!(decoded.bad.is_empty(), "{:?}", decoded.bad);
            assert!(decoded.batch.columns().iter().all(|column| column.null_count() == 0), "{event:?}");
        }
    }
}
