//! Started instances of one plugin. A call owns an instance while it runs; an instance that trapped is never
//! used again, because its memory may be half changed, and a warm spare takes its place. It knows no record
//! and no frame.

use std::sync::{Mutex, PoisonError};

use wasmtime::component::{Func, InstancePre};
use wasmtime::{Store, StoreLimits, StoreLimitsBuilder, Trap, UpdateDeadline};

use crate::deadline::{CallBudget, ThreadTime, Verdict, ticks};
use crate::error::PluginFault;
use crate::limits::Limits;

/// What the host keeps beside each instance.
pub(crate) struct Guest {
    limits: StoreLimits,
    pub(crate) call: CallBudget,
}

pub(crate) struct Instance {
    pub(crate) store: Store<Guest>,
    pub(crate) function: Func,
    exports: wasmtime::component::Instance,
}

impl Instance {
    /// Another function that the plugin exports.
    pub(crate) fn other(&mut self, export: &str) -> Option<Func> {
        self.exports.get_func(&mut self.store, export)
    }
}

pub(crate) struct InstancePool {
    template: InstancePre<Guest>,
    export: &'static str,
    limits: Limits,
    idle: Mutex<Vec<Instance>>,
}

impl InstancePool {
    /// Starts the warm instances, so that a plugin that cannot start is told at load and not at its first
    /// batch.
    pub(crate) fn start(
        template: InstancePre<Guest>,
        export: &'static str,
        limits: Limits,
    ) -> Result<InstancePool, PluginFault> {
        let pool = InstancePool { template, export, limits, idle: Mutex::new(Vec::new()) };
        pool.refill()?;
        Ok(pool)
    }

    /// A warm instance, or a new one when all are at work.
    pub(crate) fn take(&self) -> Result<Instance, PluginFault> {
        let idle = self.idle().pop();
        idle.map_or_else(|| self.instantiate(), Ok)
    }

    /// Gives back an instance whose call ended well.
    pub(crate) fn give_back(&self, instance: Instance) {
        let mut idle = self.idle();
        if idle.len() < self.limits.warm_instances {
            idle.push(instance);
        }
    }

    /// Starts spares until the pool is as warm as it should be.
    pub(crate) fn refill(&self) -> Result<(), PluginFault> {
        while self.idle().len() < self.limits.warm_instances.max(1) {
            let instance = self.instantiate()?;
            self.idle().push(instance);
        }
        Ok(())
    }

    fn idle(&self) -> std::sync::MutexGuard<'_, Vec<Instance>> {
        // Nothing inside can be half done: every use is a push, a pop or a length.
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn instantiate(&self) -> Result<Instance, PluginFault> {
        let limits = StoreLimitsBuilder::new()
            .memory_size(self.limits.memory_bytes)
            .table_elements(self.limits.table_elements)
            .instances(64)
            .memories(4)
            .tables(16)
            .trap_on_grow_failure(true)
            .build();
        let guest = Guest { limits, call: CallBudget::start(self.limits.start_deadline) };
        let mut store = Store::new(self.template.engine(), guest);
        store.limiter(|guest| &mut guest.limits);
        store.set_epoch_deadline(ticks(self.limits.start_deadline));
        store.epoch_deadline_callback(|mut guest| {
            Ok(match guest.data_mut().call.expired(ThreadTime::now()) {
                Verdict::Interrupt => UpdateDeadline::Interrupt,
                Verdict::GoOn { ticks } => UpdateDeadline::Continue(ticks),
            })
        });
        let instance = match self.template.instantiate(&mut store) {
            Ok(instance) => instance,
            Err(error) => {
                return Err(PluginFault::Start(trap_fault(&error, &self.limits, store.data()).to_string()));
            }
        };
        match instance.get_func(&mut store, self.export) {
            Some(function) => Ok(Instance { store, function, exports: instance }),
            None => Err(PluginFault::Start(format!("it has no `{}`", self.export))),
        }
    }
}

/// What a trap means to a person.
pub(crate) fn trap_fault(error: &wasmtime::Error, limits: &Limits, guest: &Guest) -> PluginFault {
    if let Some(Trap::Interrupt) = error.downcast_ref::<Trap>() {
        let budget_ms = u64::try_from(guest.call.budget().as_millis()).unwrap_or(u64::MAX);
        return PluginFault::Deadline { budget_ms };
    }
    if let Some(trap) = error.downcast_ref::<Trap>() {
        let words = trap.to_string();
        return PluginFault::Trap(words.strip_prefix("wasm trap: ").unwrap_or(&words).to_owned());
    }
    let reason = error.root_cause().to_string();
    // wasmtime has no type for it, only these words; a test holds us to them.
    if reason.contains("growing memory") {
        return PluginFault::Memory { memory_bytes: limits.memory_bytes };
    }
    PluginFault::Trap(reason)
}
