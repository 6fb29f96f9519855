//! Functions for SQL. Each gets a row's arguments, which are bool, i64, f64, &str, &[u8] or Timestamp, or Option of one to see NULL.

use ottla_plugin::export_scalar;

export_scalar! {
    /// The first `keep` characters, and a star for each other.
    fn mask(text: &str, keep: i64) -> String {
        let keep = usize::try_from(keep).unwrap_or_default();
        text.chars().enumerate().map(|(at, character)| if at < keep { character } else { '*' }).collect()
    }

    /// A part of a whole; an `Err` is the reason why a row cannot be computed.
    fn share(part: f64, whole: f64) -> Result<f64, String> {
        if whole == 0.0 { Err("the whole is 0".to_owned()) } else { Ok(part / whole) }
    }
}
