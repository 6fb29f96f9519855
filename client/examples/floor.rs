//! Reads a segment's file as `bench consume` would, from a server that does nothing but call `sendfile`:
//! `cargo run --release -p ottla-client --example floor -- SEGMENT TIMES [ANSWER_BYTES]`. Prints MB/s.

use ottla_client::bench::sendfile_floor;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let [segment, times, rest @ ..] = words.as_slice() else {
        return Err("usage: floor SEGMENT TIMES [ANSWER_BYTES]".into());
    };
    let answer_bytes = rest.first().map_or(Ok(1 << 20), |bytes| bytes.parse())?;
    let report = sendfile_floor(segment.as_ref(), answer_bytes, times.parse()?)?;
    println!("{:.1}", report.megabytes_per_second());
    Ok(())
}
