//! Printing results: aligned columns for people, JSON for programs.

use std::io::{self, Write};

use comfy_table::presets::NOTHING;
use comfy_table::{CellAlignment, Table};

/// Prints rows under headers; columns of numbers are aligned to the right.
pub fn print_table(headers: &[&str], rows: &[Vec<String>]) -> io::Result<()> {
    let mut table = Table::new();
    table.load_preset(NOTHING).set_header(headers.iter().map(|header| header.to_uppercase()));
    for row in rows {
        table.add_row(row);
    }
    for (index, column) in table.column_iter_mut().enumerate() {
        let numeric = |row: &Vec<String>| {
            row.get(index).is_some_and(|cell| cell.is_empty() || cell == "-" || cell.parse::<f64>().is_ok())
        };
        if !rows.is_empty() && rows.iter().all(numeric) {
            column.set_cell_alignment(CellAlignment::Right);
        }
        column.set_padding((0, 2));
    }
    let mut out = io::stdout().lock();
    for line in table.to_string().lines() {
        writeln!(out, "{}", line.trim_end())?;
    }
    Ok(())
}

/// Prints a value as indented JSON.
pub fn print_json(value: &serde_json::Value) -> io::Result<()> {
    let mut out = io::stdout().lock();
    serde_json::to_writer_pretty(&mut out, value)?;
    writeln!(out)
}
