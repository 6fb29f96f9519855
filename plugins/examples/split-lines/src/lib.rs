//! An example transform: one record for each line of a record's value, with its key, timestamp and headers. Empty lines and those
//! that open with `#` are left out; a tombstone passes as it is; a value that is not UTF-8 is refused.

use ottla_plugin::{Outputs, Record, Transform, export_transform};

struct SplitLines;

impl Transform for SplitLines {
    fn transform(record: Record<'_>, out: &mut Outputs<'_>) -> Result<(), String> {
        let Some(value) = record.value else {
            out.emit(&record);
            return Ok(());
        };
        let text = std::str::from_utf8(value).map_err(|reason| format!("the value is not UTF-8: {reason}"))?;
        for line in text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#')) {
            out.emit(&Record { value: Some(line.as_bytes()), ..record });
        }
        Ok(())
    }
}

export_transform!(SplitLines);
