//! The world `transform`: a call with records, and the rules that its answer must keep. It knows no topic:
//! who calls it maps `source` back to offsets.

use std::sync::Arc;

use bytes::Bytes;
use wasmtime::component::{WasmList, WasmStr};

use crate::deadline::{CallBudget, ticks};
use crate::error::{PluginError, PluginFault};
use crate::frame::{self, Record};
use crate::limits::Limits;
use crate::pool::{Instance, InstancePool, trap_fault};

/// A plugin that turns records into records. Cheap to clone; clones may be called from several threads at
/// once.
#[derive(Clone)]
pub struct Transform {
    plugin: String,
    limits: Limits,
    pool: Arc<InstancePool>,
}

/// More than this of a plugin's own words is noise.
const REFUSAL_CHARS_MAX: usize = 1000;

impl Transform {
    pub(crate) fn new(plugin: String, limits: Limits, pool: Arc<InstancePool>) -> Transform {
        Transform { plugin, limits, pool }
    }

    /// The plugin's name, as errors call it.
    pub fn plugin(&self) -> &str {
        &self.plugin
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
        let mut instance = self.pool.take()?;
        match self.run(&mut instance, &given, records.len()) {
            Ok(answer) => {
                self.pool.give_back(instance);
                self.records_of(answer?, records.len())
            }
            Err(trap) => {
                drop(instance);
                // The trap is what the caller must hear; a spare that cannot start will be told by the next
                // call.
                if let Err(reason) = self.pool.refill() {
                    tracing::warn!(plugin = %self.plugin, %reason, "no spare instance");
                }
                Err(trap)
            }
        }
    }

    /// The outer error means that the instance is lost, the inner one that it is as good as before.
    fn run(
        &self,
        instance: &mut Instance,
        given: &[u8],
        records: usize,
    ) -> Result<Result<Bytes, PluginFault>, PluginFault> {
        let Instance { store, function } = instance;
        let budget = self.limits.call_budget(records);
        store.data_mut().call = CallBudget::start(budget);
        store.set_epoch_deadline(ticks(budget));
        // What comes back is left in the guest's memory until its size is known, so wasmtime's own bound need
        // only be as high as that memory, which keeps our more telling errors in front of it.
        store.set_hostcall_fuel(self.limits.memory_bytes.saturating_add(1 << 16));
        let answer = function
            .typed::<(&[u8],), (Result<WasmList<u8>, WasmStr>,)>(&*store)
            .and_then(|function| function.call(&mut *store, (given,)));
        let answer = match answer {
            Ok((answer,)) => answer,
            Err(trap) => return Err(trap_fault(&trap, &self.limits, store.data())),
        };
        let list = match answer {
            Ok(list) => list,
            Err(reason) => {
                let reason =
                    reason.to_str(&*store).map(|reason| reason.chars().take(REFUSAL_CHARS_MAX).collect());
                return Ok(Err(
                    reason.map_or_else(|error| PluginFault::Trap(error.to_string()), PluginFault::Refused)
                ));
            }
        };
        let bytes = list.as_le_slice(&*store);
        let bytes_max = self.limits.output_bytes_max(given.len());
        if bytes.len() > bytes_max {
            return Ok(Err(PluginFault::OutputBytes { given: given.len(), bytes: bytes.len(), bytes_max }));
        }
        Ok(Ok(Bytes::copy_from_slice(bytes)))
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
