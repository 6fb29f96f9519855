//! `ottla sql`: a query over what topics hold now.

use std::io::{self, Write};

use arrow::csv::WriterBuilder;
use arrow::json::{LineDelimitedWriter, WriterBuilder as JsonWriterBuilder};
use arrow::util::display::{ArrayFormatter, FormatOptions};
use ottla_streams::Catalog;
use ottla_streams::history::{self, HistoryError, HistoryResult};

use super::connect;
use crate::cli::{Output, SqlArguments};
use crate::failure::Failure;
use crate::output::print_table;

pub async fn run(arguments: SqlArguments) -> Result<(), Failure> {
    let (place, text) = match (&arguments.execute, &arguments.file) {
        (Some(text), _) => ("-e".to_owned(), text.clone()),
        (None, Some(path)) => {
            let text = std::fs::read_to_string(path)
                .map_err(|error| Failure::wrong_words(format!("{}: {error}", path.display())))?;
            (path.display().to_string(), text)
        }
        (None, None) => return Err(Failure::wrong_words("give the statements with -e or -f")),
    };
    let client = connect(&arguments.cluster).await?;
    let result = history::query(&client, &text, &Catalog::new()).await.map_err(|error| match error {
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
