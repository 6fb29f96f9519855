//! A transform: what each record of a topic becomes.

use ottla_plugin::{Outputs, Record, Transform, export_transform};

struct Uppercase;

impl Transform for Uppercase {
    /// Emits none, one or several records for this one. It must depend on this record alone.
    fn transform(record: Record<'_>, out: &mut Outputs<'_>) -> Result<(), String> {
        let value = record.value.map(<[u8]>::to_ascii_uppercase);
        out.emit(&Record { value: value.as_deref(), ..record });
        Ok(())
    }
}

export_transform!(Uppercase);
