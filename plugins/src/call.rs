//! One call of a plugin's function from bytes to bytes, which both worlds are made of: bounded, on an instance of its own, with a
//! spare in place of an instance that trapped. It knows neither records nor columns.

use crate::deadline::{CallBudget, ticks};
use crate::error::PluginFault;
use crate::limits::Limits;
use crate::pool::{Instance, InstancePool, trap_fault};

/// More than this of a plugin's own words is noise.
const REFUSAL_CHARS_MAX: usize = 1000;

/// What the plugin answers to a batch of so many items.
///
/// # Errors
/// A trap, a deadline, too much memory or output, or an `err` of the plugin. The next call runs on an instance that is as good as new.
pub(crate) fn call(
    pool: &InstancePool,
    plugin: &str,
    limits: &Limits,
    given: &[u8],
    items: usize,
) -> Result<Vec<u8>, PluginFault> {
    let mut instance = pool.take()?;
    match run(&mut instance, limits, given, items) {
        Ok(answer) => {
            pool.give_back(instance);
            answer
        }
        Err(trap) => {
            drop(instance);
            // The trap is what the caller must hear; a spare that cannot start will be told by the next call.
            if let Err(reason) = pool.refill() {
                tracing::warn!(plugin, %reason, "no spare instance");
            }
            Err(trap)
        }
    }
}

/// The outer error means that the instance is lost, the inner one that it is as good as before.
fn run(
    instance: &mut Instance,
    limits: &Limits,
    given: &[u8],
    items: usize,
) -> Result<Result<Vec<u8>, PluginFault>, PluginFault> {
    let Instance { store, function, .. } = instance;
    let budget = limits.call_budget(items);
    store.data_mut().call = CallBudget::start(budget);
    store.set_epoch_deadline(ticks(budget));
    // wasmtime copies what comes back before the plugin is told that it may free it. No more than the guest's memory can come,
    // and wasmtime's own bound need only be as high as that, which keeps our more telling errors in front of it.
    store.set_hostcall_fuel(limits.memory_bytes.saturating_add(1 << 16));
    let answer = function
        .typed::<(&[u8],), (Result<Vec<u8>, String>,)>(&*store)
        .and_then(|function| function.call(&mut *store, (given,)));
    let bytes = match answer {
        Ok((Ok(bytes),)) => bytes,
        Ok((Err(reason),)) => {
            return Ok(Err(PluginFault::Refused(reason.chars().take(REFUSAL_CHARS_MAX).collect())));
        }
        Err(trap) => return Err(trap_fault(&trap, limits, store.data())),
    };
    let bytes_max = limits.output_bytes_max(given.len());
    if bytes.len() > bytes_max {
        return Ok(Err(PluginFault::OutputBytes { given: given.len(), bytes: bytes.len(), bytes_max }));
    }
    Ok(Ok(bytes))
}
