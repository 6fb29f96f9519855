//! The world `transform`: a call with records, and the rules that its answer must keep. It knows no topic:
//! who calls it maps `source` back to offsets.

use std::sync::Arc;

use bytes::Bytes;

use crate::call::call;
use crate::error::{PluginError, PluginFault};
use crate::frame::{self, Record};
use crate::limits::Limits;
use crate::pool::InstancePool;

/// A plugin that turns records into records. Cheap to clone; clones may be called from several threads at
/// once.
#[derive(Clone)]
pub struct Transform {
    plugin: String,
    limits: Limits,
    pool: Arc<InstancePool>,
}

impl Transform {
    pub(crate) fn new(plugin: String, limits: Limits, pool: Arc<InstancePool>) -> Transform {
        Transform { plugin, limits, pool }
    }

    /// The plugin's name, as errors call it.
    pub fn plugin(&self) -> &str {
        &self.plugin
    }

    /// What it may use.
    pub fn limits(&self) -> &Limits {
        &self.limits
    }

    /// What the plugin makes of these records, in order; the `source` of each is the index in `records` of
    /// the one it comes from. `source` of the given records is set by this call. Blocking, for at most about
    /// twice the limits' deadline in CPU time: not for an async thread.
    ///
    /// # Errors
    /// A trap, a deadline, too much memory or output, an `err` of the plugin, or an answer that is no frame.
    /// The batch has had no effect then, and the next call runs on another instance.
    pub fn call(&self, records: &[Record]) -> Result<Vec<Record>, PluginError> {
        self.call_within(records).map_err(|fault| fault.of(&self.plugin))
    }

    fn call_within(&self, records: &[Record]) -> Result<Vec<Record>, PluginFault> {
        if records.is_empty() {
            return Ok(Vec::new());
        }
        let numbered: Vec<Record> =
            (0..).zip(records).map(|(source, record)| Record { source, ..record.clone() }).collect();
        let given = frame::encode(&numbered).map_err(PluginFault::InputFrame)?;
        let answer = call(&self.pool, &self.plugin, &self.limits, &given, records.len())?;
        self.records_of(Bytes::from(answer), records.len())
    }

    fn records_of(&self, answer: Bytes, given: usize) -> Result<Vec<Record>, PluginFault> {
        let announced = frame::announced_records(&answer).map_err(PluginFault::OutputFrame)?;
        let records_max = self.limits.output_records_max(given);
        if announced > records_max {
            return Err(PluginFault::OutputRecords { given, records: announced, records_max });
        }
        let records = frame::decode(answer).map_err(PluginFault::OutputFrame)?;
        let mut reached = 0;
        for record in &records {
            let source_index = record.source;
            if source_index as usize >= given {
                return Err(PluginFault::OutputSource { source_index, why: "which the batch does not have" });
            }
            if source_index < reached {
                return Err(PluginFault::OutputSource {
                    source_index,
                    why: "after one that comes from a later record",
                });
            }
            reached = source_index;
        }
        Ok(records)
    }
}

impl std::fmt::Debug for Transform {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Transform").field("plugin", &self.plugin).finish_non_exhaustive()
    }
}
