//! The world `udf-scalar`: functions for SQL, called with columns. It knows no SQL: who calls it decides what a failure means.

use std::sync::Arc;

use arrow::array::{ArrayRef, new_empty_array};
use arrow::compute::concat;

use crate::call::call;
use crate::columns::{columns_bytes, decode_answer, encode_batch};
use crate::deadline::{CallBudget, ticks};
use crate::error::{PluginError, PluginFault};
use crate::host::Host;
use crate::limits::Limits;
use crate::plugin::{Loaded, open};
use crate::pool::{InstancePool, trap_fault};
use crate::signature::{FunctionSignature, parse_signatures};
use crate::world::World;

/// Rows and bytes of one call: as many as make its own cost small, and few beside an instance's memory. A row with more bytes is a call
/// of its own.
const CALL_ROWS_MAX: usize = 8192;
const CALL_BYTES_MAX: usize = 2 << 20;

/// A loaded plugin of the world `udf-scalar`. Cheap to clone; all clones share the instances.
#[derive(Clone)]
pub struct ScalarPlugin {
    inner: Arc<Loaded>,
    functions: Arc<[FunctionSignature]>,
}

impl ScalarPlugin {
    /// Checks, compiles (or takes from the cache) and starts a component, and asks it for its functions. `name` is what errors call
    /// it. Blocking, for as long as compiling takes.
    ///
    /// # Errors
    /// As [`crate::Plugin::load`]; and when what it says of its functions is not what the world asks.
    pub fn open(
        host: &Host,
        name: &str,
        component: &[u8],
        limits: &Limits,
    ) -> Result<ScalarPlugin, PluginError> {
        let open = || -> Result<ScalarPlugin, PluginFault> {
            let inner = open(host, name, component, World::UdfScalar, limits)?;
            let functions = parse_signatures(&functions(&inner)?).map_err(PluginFault::Functions)?;
            Ok(ScalarPlugin { inner: Arc::new(inner), functions: functions.into() })
        };
        open().map_err(|fault| fault.of(name))
    }

    pub fn name(&self) -> &str {
        &self.inner.name
    }

    /// Hash of the component, in hex.
    pub fn sha256(&self) -> &str {
        &self.inner.sha256
    }

    /// What the plugin's functions take and give, in the plugin's order.
    pub fn signatures(&self) -> &[FunctionSignature] {
        &self.functions
    }

    /// The function of this name, if the plugin has it.
    pub fn function(&self, name: &str) -> Option<ScalarFunction> {
        let index = self.functions.iter().position(|function| function.name == name)?;
        Some(ScalarFunction {
            plugin: self.inner.name.clone(),
            index: u32::try_from(index).ok()?,
            signature: self.functions.get(index)?.clone(),
            limits: self.inner.limits.clone(),
            pool: Arc::clone(&self.inner.pool),
        })
    }
}

impl std::fmt::Debug for ScalarPlugin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Loaded { name, sha256, .. } = self.inner.as_ref();
        f.debug_struct("ScalarPlugin").field("name", name).field("sha256", sha256).finish_non_exhaustive()
    }
}

/// The text of the export `functions`.
fn functions(plugin: &Loaded) -> Result<String, PluginFault> {
    let mut instance = plugin.pool.take()?;
    let function =
        instance.other("functions").ok_or_else(|| PluginFault::Start("it has no `functions`".to_owned()))?;
    let store = &mut instance.store;
    store.data_mut().call = CallBudget::start(plugin.limits.start_deadline);
    store.set_epoch_deadline(ticks(plugin.limits.start_deadline));
    store.set_hostcall_fuel(1 << 20);
    let answer = function.typed::<(), (String,)>(&*store).and_then(|function| function.call(&mut *store, ()));
    match answer {
        Ok((text,)) => {
            plugin.pool.give_back(instance);
            Ok(text)
        }
        Err(trap) => Err(PluginFault::Start(trap_fault(&trap, &plugin.limits, store.data()).to_string())),
    }
}

/// One function of a plugin. Cheap to clone; clones may be called from several threads at once.
#[derive(Clone)]
pub struct ScalarFunction {
    plugin: String,
    index: u32,
    signature: FunctionSignature,
    limits: Limits,
    pool: Arc<InstancePool>,
}

impl ScalarFunction {
    /// The plugin's name, as errors call it.
    pub fn plugin(&self) -> &str {
        &self.plugin
    }

    pub fn signature(&self) -> &FunctionSignature {
        &self.signature
    }

    /// What its plugin may use.
    pub fn limits(&self) -> &Limits {
        &self.limits
    }

    /// The function's value for each of `rows` rows, given a column for each argument of the types that the signature says. The plugin
    /// is called once for some thousand rows. Blocking: not for an async thread.
    ///
    /// # Errors
    /// A trap, a deadline, too much memory or output, an `err` of the plugin, or an answer that is no such column.
    pub fn call(&self, arguments: &[ArrayRef], rows: usize) -> Result<ArrayRef, PluginError> {
        self.call_in_parts(arguments, rows).map_err(|fault| fault.of(&self.plugin))
    }

    fn call_in_parts(&self, arguments: &[ArrayRef], rows: usize) -> Result<ArrayRef, PluginFault> {
        let mut answers = Vec::new();
        let mut from = 0;
        while from < rows {
            let mut count = (rows - from).min(CALL_ROWS_MAX);
            let part = |count: usize| -> Vec<ArrayRef> {
                arguments
                    .iter()
                    .map(|array| array.slice(from, count.min(array.len().saturating_sub(from))))
                    .collect()
            };
            let mut columns = part(count);
            while count > 1 && columns_bytes(&columns, count) > CALL_BYTES_MAX {
                count = count.div_ceil(2);
                columns = part(count);
            }
            answers.push(self.call_once(&columns, count)?);
            from += count;
        }
        match answers.as_slice() {
            [] => Ok(new_empty_array(&self.signature.returns.data_type())),
            [one] => Ok(Arc::clone(one)),
            many => {
                let parts: Vec<_> = many.iter().map(AsRef::as_ref).collect();
                concat(&parts).map_err(|error| PluginFault::Host(error.to_string()))
            }
        }
    }

    fn call_once(&self, arguments: &[ArrayRef], rows: usize) -> Result<ArrayRef, PluginFault> {
        let FunctionSignature { arguments: types, returns, .. } = &self.signature;
        let batch = encode_batch(self.index, rows, arguments, types).map_err(PluginFault::InputColumns)?;
        let answer = call(&self.pool, &self.plugin, &self.limits, &batch, rows)?;
        decode_answer(&answer, *returns, rows).map_err(PluginFault::OutputColumn)
    }
}

impl std::fmt::Debug for ScalarFunction {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} of plugin `{}`", self.signature, self.plugin)
    }
}
