//! Example functions for SQL: texts masked and split, and a distance on Earth.

use ottla_plugin::{Timestamp, export_scalar};

export_scalar! {
    /// The first `keep` characters, and a star for each other.
    fn mask(text: &str, keep: i64) -> String {
        let keep = usize::try_from(keep).unwrap_or_default();
        text.chars().enumerate().map(|(at, character)| if at < keep { character } else { '*' }).collect()
    }

    /// The host of an address; NULL where it has none.
    fn url_host(address: &str) -> Option<&str> {
        let (_, rest) = address.split_once("://")?;
        let authority = rest.split(['/', '?', '#']).next()?;
        let host = authority.rsplit('@').next()?;
        let host = host.split_once(':').map_or(host, |(host, _)| host);
        (!host.is_empty()).then_some(host)
    }

    /// Kilometres between two places on Earth, by the haversine formula with a radius of 6,371 km.
    fn distance_km(latitude_1: f64, longitude_1: f64, latitude_2: f64, longitude_2: f64) -> Result<f64, String> {
        for latitude in [latitude_1, latitude_2] {
            if !(-90.0..=90.0).contains(&latitude) {
                return Err(format!("{latitude} is no latitude"));
            }
        }
        let half = |from: f64, to: f64| ((to - from).to_radians() / 2.0).sin().powi(2);
        let (north_1, north_2) = (latitude_1.to_radians(), latitude_2.to_radians());
        let a = half(latitude_1, latitude_2) + north_1.cos() * north_2.cos() * half(longitude_1, longitude_2);
        Ok(2.0 * 6371.0 * a.sqrt().asin())
    }

    /// The first that is there.
    fn first_of(one: Option<&str>, other: Option<&str>) -> Option<String> {
        one.or(other).map(str::to_owned)
    }

    /// Whether the bits of a text's bytes are odd in number: all types through one function.
    fn parity(bytes: &[u8], seed: bool) -> bool {
        bytes.iter().fold(seed, |odd, byte| odd ^ (byte.count_ones() % 2 == 1))
    }

    /// Midnight before, UTC.
    fn start_of_day(at: Timestamp) -> Timestamp {
        const DAY_MS: i64 = 86_400_000;
        Timestamp(at.0.div_euclid(DAY_MS) * DAY_MS)
    }
}
