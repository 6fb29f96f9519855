//! How fast a CSV file becomes typed batches, JSON records, and batches again.
//!
//! `cargo run --release -p ottla-formats --example csv_to_json -- FILE [COLUMN=TYPE …]`; columns not named are text.

use std::io::Read as _;
use std::time::{Duration, Instant};

use ottla_formats::{CsvOptions, CsvReader, Format as _, JsonFormat, schema_of};

const ROWS_PER_BATCH: usize = 2_000;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let path = arguments.next().ok_or("usage: csv_to_json FILE [COLUMN=TYPE …]")?;
    let types: Vec<(String, String)> = arguments
        .map(|argument| argument.split_once('=').map(|(name, word)| (name.to_owned(), word.to_owned())))
        .collect::<Option<_>>()
        .ok_or("a column is COLUMN=TYPE")?;

    let options = CsvOptions { null_values: vec![String::new(), "NA".to_owned()], ..CsvOptions::default() };
    let mut file = std::fs::File::open(&path)?;
    let mut chunk = vec![0; 256 * 1024];
    let mut header = CsvReader::new(options.clone(), None)?;
    let mut count = file.read(&mut chunk)?;
    header.feed(&chunk[..count]);
    if !header.read_header()? {
        return Err("the header is longer than 256 KiB".into());
    }
    let names: Vec<String> = header
        .schema()
        .into_iter()
        .flat_map(|schema| schema.fields())
        .map(|field| field.name().clone())
        .collect();
    let word = |name: &String| {
        types.iter().find(|(typed, _)| typed == name).map_or("string?", |(_, word)| word.as_str())
    };
    let schema =
        schema_of(names.iter().map(|name| (name.as_str(), word(name)))).map_err(|(_, error)| error)?;

    let mut reader = CsvReader::new(options, Some(schema.clone()))?;
    let (mut reading, mut encoding, mut decoding) = (Duration::ZERO, Duration::ZERO, Duration::ZERO);
    let (mut rows, mut bad, mut csv_bytes, mut json_bytes) = (0, 0, 0, 0);
    loop {
        let started_at = Instant::now();
        csv_bytes += count;
        match count {
            0 => reader.end(),
            count => reader.feed(&chunk[..count]),
        }
        reading += started_at.elapsed();
        loop {
            let started_at = Instant::now();
            let Some(batch) = reader.next_batch(ROWS_PER_BATCH)? else { break };
            reading += started_at.elapsed();
            let started_at = Instant::now();
            let payloads = JsonFormat.encode(&batch.batch)?;
            encoding += started_at.elapsed();
            let slices: Vec<&[u8]> = payloads.iter().map(AsRef::as_ref).collect();
            let started_at = Instant::now();
            let decoded = JsonFormat.decode(&slices, &schema)?;
            decoding += started_at.elapsed();
            rows += decoded.batch.num_rows();
            bad += batch.bad.len();
            json_bytes += payloads.iter().map(bytes::Bytes::len).sum::<usize>();
        }
        if count == 0 {
            break;
        }
        count = file.read(&mut chunk)?;
    }
    println!("{rows} rows ({bad} bad), {csv_bytes} bytes of CSV, {json_bytes} bytes of JSON");
    println!("CSV to Arrow {reading:?}, Arrow to JSON {encoding:?}, JSON to Arrow {decoding:?}");
    Ok(())
}
