//! `ottla plugin test`: records or rows through a component, with the host, the limits and the batches of a server.

use std::io::{BufRead, BufReader, Write};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use arrow::array::{
    Array, ArrayRef, AsArray, BinaryArray, BooleanArray, Float64Array, Int64Array, StringArray,
    TimestampMillisecondArray,
};
use arrow::datatypes::{Float64Type, Int64Type, TimestampMillisecondType};
use clap::Args;
use ottla_plugins::{
    AnyPlugin, Limits, PluginError, Record, ScalarFunction, ScalarPlugin, ThreadTime, Transform, ValueType,
    read_component,
};
use serde_json::{Value, json};

use super::build::{open, stem};
use crate::cli::Output;
use crate::failure::Failure;

/// `ottla plugin test`
#[derive(Args)]
pub struct TestArguments {
    /// The component.
    file: PathBuf,
    /// A file of records or rows, one a line: for a transform a line is a value; for a function it is a JSON array of its arguments.
    /// Without it standard input.
    #[arg(short, long, value_name = "FILE")]
    input: Option<PathBuf>,
    /// What separates key from value in a line; without it a line is a value.
    #[arg(short, long, value_name = "TEXT")]
    key_separator: Option<String>,
    /// The function to call; may be left out where there is only one.
    #[arg(short, long, value_name = "NAME")]
    function: Option<String>,
    /// How many records a call gets.
    #[arg(short, long, default_value_t = 500, value_parser = clap::value_parser!(u32).range(1..=8192))]
    batch: u32,
    /// Go through the input so many times, and print what becomes of it once: for the time per record.
    #[arg(short, long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
    repeat: u32,
    #[arg(short, long, value_enum, default_value_t)]
    output: Output,
}

/// What the run was, besides its outputs.
struct Summary {
    given: usize,
    returned: usize,
    /// Of this thread, in the plugin and on the way there and back, in all rounds together.
    cpu_time: Duration,
}

pub(super) fn run(arguments: &TestArguments) -> Result<(), Failure> {
    let lines = lines(arguments)?;
    let name = stem(&arguments.file);
    let component = read_component(&arguments.file, &Limits::default())
        .map_err(|fault| Failure::failed(PluginError { plugin: name.clone(), fault }))?;
    let summary = match open(&name, &component)? {
        AnyPlugin::Transform(plugin) => transform(arguments, &lines, &plugin.transform())?,
        AnyPlugin::Scalar(plugin) => function(arguments, &lines, &plugin)?,
    };
    let calls = summary.given as f64 * f64::from(arguments.repeat);
    let nanos = if calls > 0.0 { summary.cpu_time.as_nanos() as f64 / calls } else { 0.0 };
    match arguments.output {
        Output::Json => {
            let summary = json!({ "records": summary.given, "outputs": summary.returned, "cpu_nanos_per_record": nanos });
            println!("{}", json!({ "summary": summary }));
        }
        _ => eprintln!(
            "{} records in, {} out, {:.3} µs of CPU time for each record",
            summary.given,
            summary.returned,
            nanos / 1000.0
        ),
    }
    Ok(())
}

fn lines(arguments: &TestArguments) -> Result<Vec<String>, Failure> {
    let read = |lines: &mut dyn BufRead| lines.lines().collect::<std::io::Result<Vec<String>>>();
    match &arguments.input {
        None => Ok(read(&mut std::io::stdin().lock())?),
        Some(path) => std::fs::File::open(path)
            .and_then(|file| read(&mut BufReader::new(file)))
            .map_err(|error| super::at(path, &error)),
    }
}

fn transform(arguments: &TestArguments, lines: &[String], transform: &Transform) -> Result<Summary, Failure> {
    let bytes = |text: &str| Some(bytes::Bytes::copy_from_slice(text.as_bytes()));
    let records: Vec<Record> = lines
        .iter()
        .map(|line| {
            match arguments.key_separator.as_ref().and_then(|separator| line.split_once(separator.as_str())) {
                Some((key, value)) => Record { key: bytes(key), value: bytes(value), ..Record::default() },
                None => Record { value: bytes(line), ..Record::default() },
            }
        })
        .collect();
    let mut summary = Summary { given: records.len(), returned: 0, cpu_time: Duration::ZERO };
    let mut out = std::io::stdout().lock();
    for round in 0..arguments.repeat {
        for (first, batch) in
            (0..).step_by(arguments.batch as usize).zip(records.chunks(arguments.batch as usize))
        {
            let started = ThreadTime::now();
            let outputs = transform.call(batch)?;
            summary.cpu_time += ThreadTime::now().since(started);
            if round > 0 {
                continue;
            }
            summary.returned += outputs.len();
            for output in &outputs {
                print_record(&mut out, first + output.source as usize, output, arguments.output)?;
            }
        }
    }
    Ok(summary)
}

fn print_record(out: &mut impl Write, source: usize, record: &Record, output: Output) -> std::io::Result<()> {
    let text = |bytes: &Option<bytes::Bytes>| {
        bytes.as_ref().map(|bytes| String::from_utf8_lossy(bytes).into_owned())
    };
    if output == Output::Json {
        let headers = record.headers.iter().map(|header| json!([header.name, text(&header.value)]));
        let line = json!({
            "source": source,
            "timestamp_ms": record.timestamp_ms,
            "key": text(&record.key),
            "value": text(&record.value),
            "headers": headers.collect::<Vec<_>>(),
        });
        return writeln!(out, "{line}");
    }
    if let Some(key) = text(&record.key) {
        write!(out, "{key}\t")?;
    }
    writeln!(out, "{}", text(&record.value).unwrap_or_else(|| "null".to_owned()))
}

fn function(arguments: &TestArguments, lines: &[String], plugin: &ScalarPlugin) -> Result<Summary, Failure> {
    let function = chosen(plugin, arguments.function.as_deref())?;
    let types = &function.signature().arguments;
    let mut rows: Vec<Vec<Value>> = Vec::with_capacity(lines.len());
    for (number, line) in (1..).zip(lines) {
        let wrong = |reason: String| Failure::wrong_words(format!("line {number} of the input: {reason}"));
        let row: Vec<Value> = serde_json::from_str(line).map_err(|error| {
            wrong(format!("{error}; it must be a JSON array of the arguments of {}", function.signature()))
        })?;
        if row.len() != types.len() {
            return Err(wrong(format!(
                "{} arguments, and {} takes {}",
                row.len(),
                function.signature(),
                types.len()
            )));
        }
        rows.push(row);
    }
    let mut summary = Summary { given: rows.len(), returned: 0, cpu_time: Duration::ZERO };
    let mut out = std::io::stdout().lock();
    for (first, batch) in (1..).step_by(arguments.batch as usize).zip(rows.chunks(arguments.batch as usize)) {
        let mut columns = Vec::with_capacity(types.len());
        for (index, kind) in types.iter().enumerate() {
            let values = batch.iter().map(|row| row.get(index).unwrap_or(&Value::Null));
            let column = column(*kind, values).map_err(|value| {
                Failure::wrong_words(format!(
                    "a line from {first} on: {value} is no {kind}, argument {}",
                    index + 1
                ))
            })?;
            columns.push(column);
        }
        for round in 0..arguments.repeat {
            let started = ThreadTime::now();
            let answer = function.call(&columns, batch.len())?;
            summary.cpu_time += ThreadTime::now().since(started);
            if round == 0 {
                summary.returned += answer.len();
                for row in 0..answer.len() {
                    writeln!(out, "{}", shown(&answer, row))?;
                }
            }
        }
    }
    Ok(summary)
}

fn chosen(plugin: &ScalarPlugin, name: Option<&str>) -> Result<ScalarFunction, Failure> {
    let signatures = plugin.signatures();
    let name = match (name, signatures) {
        (Some(name), _) => name,
        (None, [only]) => &only.name,
        (None, _) => {
            let names: Vec<&str> = signatures.iter().map(|function| function.name.as_str()).collect();
            return Err(Failure::wrong_words(format!("name one with --function: {}", names.join(", "))));
        }
    };
    plugin.function(name).ok_or_else(|| {
        let names: Vec<String> = signatures.iter().map(ToString::to_string).collect();
        Failure::wrong_words(format!("there is no function `{name}`; there are {}", names.join(", ")))
    })
}

/// A column of JSON values; bytes are written as text, a timestamp in milliseconds since 1970.
fn column<'a>(kind: ValueType, values: impl Iterator<Item = &'a Value>) -> Result<ArrayRef, String> {
    fn each<'a, T>(
        values: impl Iterator<Item = &'a Value>,
        get: impl Fn(&'a Value) -> Option<T>,
    ) -> Result<Vec<Option<T>>, String> {
        let one = |value: &'a Value| match value {
            Value::Null => Ok(None),
            value => get(value).map(Some).ok_or_else(|| value.to_string()),
        };
        values.map(one).collect()
    }
    Ok(match kind {
        ValueType::Boolean => Arc::new(BooleanArray::from(each(values, Value::as_bool)?)),
        ValueType::Int64 => Arc::new(Int64Array::from(each(values, Value::as_i64)?)),
        ValueType::Float64 => Arc::new(Float64Array::from(each(values, Value::as_f64)?)),
        ValueType::Utf8 => Arc::new(StringArray::from(each(values, Value::as_str)?)),
        ValueType::Binary => Arc::new(BinaryArray::from_iter(each(values, Value::as_str)?)),
        ValueType::Timestamp => {
            Arc::new(TimestampMillisecondArray::from(each(values, Value::as_i64)?).with_timezone("UTC"))
        }
    })
}

/// A value of an answer as JSON.
fn shown(answer: &ArrayRef, row: usize) -> Value {
    if answer.is_null(row) {
        return Value::Null;
    }
    match ValueType::of(answer.data_type()) {
        Some(ValueType::Boolean) => answer.as_boolean().value(row).into(),
        Some(ValueType::Int64) => answer.as_primitive::<Int64Type>().value(row).into(),
        Some(ValueType::Float64) => json!(answer.as_primitive::<Float64Type>().value(row)),
        Some(ValueType::Utf8) => answer.as_string::<i32>().value(row).into(),
        Some(ValueType::Binary) => String::from_utf8_lossy(answer.as_binary::<i32>().value(row)).into(),
        Some(ValueType::Timestamp) => answer.as_primitive::<TimestampMillisecondType>().value(row).into(),
        None => Value::Null,
    }
}
