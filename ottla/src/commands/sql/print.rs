//! Results as tables, JSON lines or CSV.

use std::io::{self, Write};

use serde_json::Value;

use crate::cli::Output;
use crate::failure::Failure;
use crate::output::print_table;

/// Prints the lines of an answer of `POST /sql?columns=true`.
pub(super) struct Printer {
    output: Output,
    columns: Vec<String>,
    are_changes: bool,
    /// Rows of a table, whose widths are known when all are there.
    rows: Vec<Vec<String>>,
}

impl Printer {
    pub(super) fn new(output: Output) -> Printer {
        Printer { output, columns: Vec::new(), are_changes: false, rows: Vec::new() }
    }

    /// Prints a line, or keeps it until the table is whole.
    pub(super) fn line(&mut self, line: &Value) -> Result<(), Failure> {
        if let Some(error) = line["error"].as_str() {
            self.end()?;
            return Err(Failure::failed(error));
        }
        if let Some(done) = line["done"].as_str() {
            self.end()?;
            return self.done(done);
        }
        if let Some(columns) = line["columns"].as_array() {
            self.end()?;
            let name = |column: &Value| column["name"].as_str().unwrap_or_default().to_owned();
            self.columns = columns.iter().map(name).collect();
            self.are_changes = line["changes"].as_bool().unwrap_or_default();
            return self.begin();
        }
        match line {
            Value::Array(values) => self.row(None, values),
            change => {
                self.row(change["weight"].as_i64(), change["row"].as_array().map_or(&[], Vec::as_slice))
            }
        }
    }

    /// Prints the table that is under way.
    pub(super) fn end(&mut self) -> Result<(), Failure> {
        let columns = std::mem::take(&mut self.columns);
        if self.output == Output::Table && !columns.is_empty() && !self.are_changes {
            let headers: Vec<&str> = columns.iter().map(String::as_str).collect();
            print_table(&headers, &std::mem::take(&mut self.rows))?;
        }
        self.are_changes = false;
        Ok(())
    }

    fn done(&self, done: &str) -> Result<(), Failure> {
        let mut out = io::stdout().lock();
        match self.output {
            Output::Table => writeln!(out, "{done}")?,
            Output::Json => writeln!(out, "{}", serde_json::json!({ "done": done }))?,
            Output::Csv => eprintln!("{done}"),
        }
        Ok(())
    }

    fn begin(&self) -> Result<(), Failure> {
        let mut out = io::stdout().lock();
        let weight = self.are_changes.then_some("weight").into_iter();
        let headers = weight.chain(self.columns.iter().map(String::as_str));
        match self.output {
            Output::Csv => writeln!(out, "{}", headers.map(quoted).collect::<Vec<_>>().join(","))?,
            Output::Table if self.are_changes => {
                writeln!(out, "{}", headers.map(str::to_uppercase).collect::<Vec<_>>().join("  "))?;
            }
            Output::Table | Output::Json => {}
        }
        Ok(out.flush()?)
    }

    fn row(&mut self, weight: Option<i64>, values: &[Value]) -> Result<(), Failure> {
        let weight_text = weight.map(|weight| format!("{weight:+}")).into_iter();
        if self.output == Output::Table && !self.are_changes {
            self.rows.push(values.iter().map(text).collect());
            return Ok(());
        }
        let mut out = io::stdout().lock();
        match self.output {
            Output::Table => {
                let cells: Vec<String> = weight_text.chain(values.iter().map(text)).collect();
                writeln!(out, "{}", cells.join("  "))?;
            }
            Output::Csv => {
                let cells: Vec<String> =
                    weight_text.chain(values.iter().map(|value| quoted(&text(value)))).collect();
                writeln!(out, "{}", cells.join(","))?;
            }
            Output::Json => {
                let fields = self.columns.iter().zip(values);
                let fields: Vec<String> =
                    fields.map(|(name, value)| format!("{}:{value}", Value::from(name.as_str()))).collect();
                match weight {
                    Some(weight) => {
                        writeln!(out, "{{\"weight\":{weight},\"row\":{{{}}}}}", fields.join(","))?
                    }
                    None => writeln!(out, "{{{}}}", fields.join(","))?,
                }
            }
        }
        // Changes come one by one, and each is looked at when it comes.
        if self.are_changes {
            out.flush()?;
        }
        Ok(())
    }
}

/// A value as a cell.
pub(super) fn text(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

/// A cell as RFC 4180 has it.
fn quoted(cell: &str) -> String {
    match cell.contains(['"', ',', '\n', '\r']) {
        true => format!("\"{}\"", cell.replace('"', "\"\"")),
        false => cell.to_owned(),
    }
}
