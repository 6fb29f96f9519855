//! A query over what topics hold now, run by this process: for clusters that are not Ottla's, or that ask who somebody is.

use std::io::{self, Write};

use arrow::csv::WriterBuilder;
use arrow::json::{LineDelimitedWriter, WriterBuilder as JsonWriterBuilder};
use arrow::util::display::{ArrayFormatter, FormatOptions};
use ottla_streams::Catalog;
use ottla_streams::history::{self, HistoryError, HistoryResult};

use super::super::connect;
use crate::cli::{Output, SqlArguments};
use crate::failure::Failure;
use crate::output::print_table;

/// Runs the one SELECT of `text`, which came from `place`.
pub(super) async fn run(arguments: &SqlArguments, place: &str, text: &str) -> Result<(), Failure> {
    let client = connect(&arguments.cluster).await?;
    let result = history::query(&client, text, &Catalog::new()).await.map_err(|error| match error {
        HistoryError::Sql(error) => {
            let position = error.position;
            Failure::wrong_words(format!("{place}:{}:{}: {error}", position.line, position.column))
        }
        other => Failure::from(other),
    })?;
    if result.bad_records > 0 {
        eprintln!(
            "warning: {} records are not what their stream declares and were left out",
            result.bad_records
        );
    }
    print(&result, arguments.output)
}

fn print(result: &HistoryResult, output: Output) -> Result<(), Failure> {
    let mut out = io::stdout().lock();
    match output {
        Output::Csv => {
            let mut writer = WriterBuilder::new().with_header(true).build(&mut out);
            for batch in &result.batches {
                writer.write(batch)?;
            }
            Ok(())
        }
        Output::Json => {
            let builder = JsonWriterBuilder::new().with_explicit_nulls(true);
            let mut writer: LineDelimitedWriter<_> = builder.build(&mut out);
            for batch in &result.batches {
                writer.write(batch)?;
            }
            writer.finish()?;
            Ok(out.flush()?)
        }
        Output::Table => {
            drop(out);
            let headers: Vec<&str> =
                result.schema.fields().iter().map(|field| field.name().as_str()).collect();
            let mut rows = Vec::new();
            let options = FormatOptions::default();
            for batch in &result.batches {
                let columns = batch
                    .columns()
                    .iter()
                    .map(|column| ArrayFormatter::try_new(column, &options))
                    .collect::<Result<Vec<_>, _>>()?;
                for row in 0..batch.num_rows() {
                    rows.push(columns.iter().map(|column| column.value(row).to_string()).collect());
                }
            }
            Ok(print_table(&headers, &rows)?)
        }
    }
}
