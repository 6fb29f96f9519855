//! Frames of a sensor as readings: `EWR,0150e2…` becomes `{"station": "EWR", "at": "2013-01-01T06:00:00Z", …}`. A frame of
//! another version, of another length or with a wrong checksum is refused.
//!
//! ```text
//!   version 1 │ seconds since 1970 │ hundredths of °C │ hundredths of % humidity │ tenths of hPa │ CRC-8
//!     1 byte  │    4, big-endian   │    2, signed     │            2             │       2       │   1
//! ```

use ottla_plugin::{Outputs, Record, Transform, export_transform};

const FRAME_BYTES: usize = 12;

struct Decode;

impl Transform for Decode {
    fn transform(record: Record<'_>, out: &mut Outputs<'_>) -> Result<(), String> {
        let value = record.value.ok_or("a frame has a value")?;
        let text = std::str::from_utf8(value).map_err(|reason| format!("the value is not UTF-8: {reason}"))?;
        let (station, hex) = text.trim().split_once(',').ok_or("expected STATION,FRAME")?;
        let is_name = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
        if station.is_empty() || !station.bytes().all(is_name) {
            return Err(format!("{station:?} is no name of a station"));
        }
        let reading = reading(station, &frame(hex)?)?;
        out.emit(&Record { value: Some(reading.as_bytes()), ..record });
        Ok(())
    }
}

fn frame(hex: &str) -> Result<[u8; FRAME_BYTES], String> {
    let digits = hex.as_bytes();
    if digits.len() != FRAME_BYTES * 2 {
        return Err(format!("a frame has {} hex digits, this has {}", FRAME_BYTES * 2, digits.len()));
    }
    let mut frame = [0; FRAME_BYTES];
    for (byte, pair) in frame.iter_mut().zip(digits.chunks_exact(2)) {
        for digit in pair {
            let value = char::from(*digit).to_digit(16).ok_or("a frame is hex digits alone")?;
            *byte = *byte << 4 | value as u8;
        }
    }
    Ok(frame)
}

fn reading(station: &str, frame: &[u8; FRAME_BYTES]) -> Result<String, String> {
    let [version, t0, t1, t2, t3, c0, c1, h0, h1, p0, p1, check] = *frame;
    let found = crc8(&frame[..FRAME_BYTES - 1]);
    if found != check {
        return Err(format!("the checksum is {check:02x}, and the frame's is {found:02x}: it was damaged on the way"));
    }
    if version != 1 {
        return Err(format!("there is no version {version} of frames"));
    }
    let at = timestamp(u32::from_be_bytes([t0, t1, t2, t3]));
    let temperature = decimal(i16::from_be_bytes([c0, c1]).into(), 2);
    let humidity = decimal(u16::from_be_bytes([h0, h1]).into(), 2);
    let pressure = decimal(u16::from_be_bytes([p0, p1]).into(), 1);
    Ok(format!(
        r#"{{"station":"{station}","at":"{at}","temperature":{temperature},"humidity":{humidity},"pressure":{pressure}}}"#
    ))
}

/// Polynomial x⁸ + x² + x + 1, from 0, as in SMBus.
fn crc8(bytes: &[u8]) -> u8 {
    bytes.iter().fold(0, |crc, byte| {
        (0..8).fold(crc ^ byte, |crc: u8, _| if crc & 0x80 == 0 { crc << 1 } else { crc << 1 ^ 0x07 })
    })
}

/// A number of so many digits behind the point, exactly.
fn decimal(value: i32, digits: usize) -> String {
    let (sign, value) = (if value < 0 { "-" } else { "" }, value.unsigned_abs());
    let factor = 10u32.pow(digits as u32);
    format!("{sign}{}.{:0digits$}", value / factor, value % factor)
}

/// Seconds since 1970 as ISO-8601 (the civil calendar of Howard Hinnant's `days_from_civil`, turned round).
fn timestamp(seconds: u32) -> String {
    let (days, second) = (seconds / 86_400 + 719_468, seconds % 86_400);
    let (era, day_of_era) = (days / 146_097, days % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    let year = year_of_era + era * 400 + u32::from(month <= 2);
    format!("{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}Z", second / 3600, second / 60 % 60, second % 60)
}

export_transform!(Decode);
