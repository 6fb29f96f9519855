//! Avro as a [`Format`]: single values of a given schema, or values that name their schema in a registry.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex};

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use bytes::Bytes;

use super::plan::{Plan, Reader, plan_record};
use super::read::Input;
use super::schema::AvroSchema;
use super::write::{FORMAT, Writer, derived};
use crate::columns::Columns;
use crate::registry::RegistryClient;
use crate::{BadRecord, Decoded, Format, FormatError};

/// Before every value that names its schema: a zero byte, and the id as a big-endian number (Confluent's wire format).
const HEADER_LEN: usize = 5;

/// Schemas that were derived and registered, before they are forgotten.
const REGISTERED_MAX: usize = 256;

/// Values in Avro's binary encoding.
///
/// Reading, a writer's record becomes the columns of its names: a field without a column is skipped, a column without a
/// field is null (or the record is bad where it may not be), and a type goes into every column that can hold all of its
/// values. Timestamps of finer units are rounded down; a plain `long` in a timestamp column is milliseconds; a map becomes
/// a list of `key` and `value`. Writing, a nullable column is a union with null.
pub struct AvroFormat {
    schemas: Schemas,
}

enum Schemas {
    /// Values begin at once and all have this schema. The other says what fields were called before (aliases).
    Given { writer: Arc<AvroSchema>, reader: Option<Arc<AvroSchema>> },
    /// Values have a header that names their schema.
    Registry { client: Arc<RegistryClient>, registered: Mutex<Registered> },
}

/// By subject and text of the schema: its id and what it means.
type Registered = HashMap<(String, String), (i32, Arc<AvroSchema>)>;

impl AvroFormat {
    /// Values without a header, written with this schema.
    #[must_use]
    pub fn with_schema(writer: Arc<AvroSchema>) -> AvroFormat {
        AvroFormat { schemas: Schemas::Given { writer, reader: None } }
    }

    /// Values without a header, written with one schema and read under the names of another, whose aliases count.
    #[must_use]
    pub fn resolving(writer: Arc<AvroSchema>, reader: Arc<AvroSchema>) -> AvroFormat {
        AvroFormat { schemas: Schemas::Given { writer, reader: Some(reader) } }
    }

    /// Values in Confluent's wire format. What is written has a schema derived from its columns, registered as a version of
    /// `<topic>-value`.
    #[must_use]
    pub fn with_registry(client: Arc<RegistryClient>) -> AvroFormat {
        AvroFormat { schemas: Schemas::Registry { client, registered: Mutex::default() } }
    }
}

/// What is known of the schema of some values: how to read them, or why they are bad.
type Known = Result<(Arc<AvroSchema>, Plan), String>;

impl Format for AvroFormat {
    fn name(&self) -> &'static str {
        FORMAT
    }

    fn decode(&self, payloads: &[&[u8]], schema: &SchemaRef) -> Result<Decoded, FormatError> {
        let mut columns = Columns::new(schema.fields(), FORMAT, true)?;
        let mut known: BTreeMap<i32, Known> = BTreeMap::new();
        let (mut rows, mut good, mut bad) = (0, Vec::with_capacity(payloads.len()), Vec::new());
        for (index, payload) in (0_u32..).zip(payloads) {
            let read = match self.split(payload) {
                Err(reason) => Err(reason),
                Ok((id, value)) => {
                    let known = match known.entry(id) {
                        std::collections::btree_map::Entry::Occupied(found) => found.into_mut(),
                        std::collections::btree_map::Entry::Vacant(place) => {
                            place.insert(self.known(id, &columns)?)
                        }
                    };
                    read(known, value, &mut columns, rows)
                }
            };
            match read {
                Ok(()) => {
                    rows += 1;
                    good.push(index);
                }
                Err(reason) => {
                    columns.truncate(rows);
                    bad.push(BadRecord { index, reason });
                }
            }
        }
        Ok(Decoded { batch: columns.finish(schema, rows)?, rows: good, bad })
    }

    fn encode(&self, batch: &RecordBatch) -> Result<Vec<Bytes>, FormatError> {
        match &self.schemas {
            Schemas::Given { writer, .. } => Writer::new(writer, batch)?.rows(batch.num_rows(), &[]),
            Schemas::Registry { .. } => Err(FormatError::BadOption {
                option: "format",
                reason: "avro with a schema registry can be written to topics only".to_owned(),
            }),
        }
    }

    fn encode_for(&self, topic: &str, batch: &RecordBatch) -> Result<Vec<Bytes>, FormatError> {
        let Schemas::Registry { client, registered } = &self.schemas else { return self.encode(batch) };
        let text = derived(&record_name(topic), batch.schema().fields())?.to_string();
        let key = (format!("{topic}-value"), text);
        let lock = || registered.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        let found = lock().get(&key).cloned();
        let (id, schema) = match found {
            Some(found) => found,
            None => {
                let schema = AvroSchema::parse(&key.1).map_err(|error| FormatError::BadOption {
                    option: "format",
                    reason: format!("the columns make no Avro schema: {error}"),
                })?;
                let found = (client.register(&key.0, &key.1)?, Arc::new(schema));
                let mut registered = lock();
                if registered.len() >= REGISTERED_MAX {
                    registered.clear();
                }
                registered.insert(key, found.clone());
                found
            }
        };
        let mut header = [0; HEADER_LEN];
        header[1..].copy_from_slice(&id.to_be_bytes());
        Writer::new(&schema, batch)?.rows(batch.num_rows(), &header)
    }
}

impl AvroFormat {
    /// The schema's id, if values have one, and the value itself.
    fn split<'a>(&self, payload: &'a [u8]) -> Result<(i32, &'a [u8]), String> {
        match (&self.schemas, payload) {
            (Schemas::Given { .. }, value) => Ok((0, value)),
            (Schemas::Registry { .. }, [0, a, b, c, d, value @ ..]) => {
                Ok((i32::from_be_bytes([*a, *b, *c, *d]), value))
            }
            (Schemas::Registry { .. }, [0, ..] | []) => Err("it is too short to name its schema".to_owned()),
            (Schemas::Registry { .. }, [first, ..]) => Err(format!(
                "it begins with {first:#04x} and not with 0, so it names no schema of a registry"
            )),
        }
    }

    fn known(&self, id: i32, columns: &Columns) -> Result<Known, FormatError> {
        let (schema, reader) = match &self.schemas {
            Schemas::Given { writer, reader } => (Ok(Arc::clone(writer)), reader.as_deref()),
            Schemas::Registry { client, .. } => (client.schema(id)?, None),
        };
        Ok(schema.map(|schema| {
            let reader = reader.map(|reader| (reader, reader.root()));
            let plan = plan_record(&schema, schema.root(), columns, reader);
            (schema, plan)
        }))
    }
}

fn read(known: &Known, value: &[u8], columns: &mut Columns, rows: usize) -> Result<(), String> {
    let (schema, plan) = known.as_ref().map_err(Clone::clone)?;
    let mut input = Input::new(value);
    Reader { schema }.record(&mut input, schema.root(), plan, columns, rows)?;
    input.end()
}

/// The name of a topic's records: what of the topic's name a name may have.
fn record_name(topic: &str) -> String {
    let safe: String = topic.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '_' }).collect();
    match safe.starts_with(|c: char| c.is_ascii_digit()) {
        true => format!("_{safe}"),
        false => safe,
    }
}
