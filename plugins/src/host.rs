//! The wasmtime engine that all plugins of a process share, its settings, and the thread that makes epochs
//! pass. It knows no particular plugin.

use std::sync::{Arc, Mutex, OnceLock};

use wasmtime::component::Component;
use wasmtime::{Config, Engine, InstanceAllocationStrategy, OptLevel, PoolingAllocationConfig};

use crate::cache::CacheDir;
use crate::deadline::TICK;
use crate::limits::MEMORY_MAX_BYTES;

/// Instances of all plugins that may be alive at once. Each reserves address space in the pool, not memory.
const INSTANCES_MAX: u32 = 128;

/// An engine with a cache. Cheap to clone.
#[derive(Clone)]
pub struct Host(Arc<HostInner>);

struct HostInner {
    engine: Engine,
    cache: Option<CacheDir>,
    /// Compiling cannot be interrupted and may take many seconds for a hostile or huge plugin: one at a time.
    compiling: Mutex<()>,
}

impl Host {
    /// An engine of its own; most callers want [`Host::shared`].
    ///
    /// # Errors
    /// The reason when this machine cannot run WebAssembly: no address space, or no thread.
    pub fn new(cache: Option<CacheDir>) -> Result<Host, String> {
        let engine = Engine::new(&config(true)).or_else(|reason| {
            // The pool reserves much address space, which some containers forbid; single allocations work
            // there, more slowly.
            tracing::warn!(%reason, "plugin instances are allocated one by one");
            Engine::new(&config(false))
        });
        let engine = engine.map_err(|reason| format!("{reason:#}"))?;
        start_ticker(&engine)?;
        Ok(Host(Arc::new(HostInner { engine, cache, compiling: Mutex::new(()) })))
    }

    /// The process's host, with the user's cache folder. Made at first use.
    pub fn shared() -> Result<Host, String> {
        static SHARED: OnceLock<Result<Host, String>> = OnceLock::new();
        SHARED.get_or_init(|| Host::new(CacheDir::of_user())).clone()
    }

    pub(crate) fn engine(&self) -> &Engine {
        &self.0.engine
    }

    pub(crate) fn compile(&self, component_sha256: &str, bytes: &[u8]) -> wasmtime::Result<Component> {
        let cached = || self.0.cache.as_ref().and_then(|cache| cache.load(&self.0.engine, component_sha256));
        if let Some(component) = cached() {
            return Ok(component);
        }
        // A panic of another compilation leaves nothing behind that we could trip over.
        let _one_at_a_time = self.0.compiling.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if let Some(component) = cached() {
            return Ok(component);
        }
        let component = Component::from_binary(&self.0.engine, bytes)?;
        if let Some(cache) = &self.0.cache
            && let Err(reason) = cache.store(&self.0.engine, component_sha256, &component)
        {
            tracing::warn!(%reason, "a compiled plugin could not be kept");
        }
        Ok(component)
    }
}

fn config(pooling: bool) -> Config {
    let mut config = Config::new();
    config.cranelift_opt_level(OptLevel::Speed).epoch_interruption(true).max_wasm_stack(512 << 10);
    // What a transform returns must not depend on the machine: a replay after a crash may run elsewhere.
    config.cranelift_nan_canonicalization(true).relaxed_simd_deterministic(true);
    config.wasm_memory64(false);
    if pooling {
        let mut pool = PoolingAllocationConfig::new();
        // A component made from a script interpreter holds dozens of core instances and several memories.
        pool.total_component_instances(INSTANCES_MAX)
            .total_core_instances(INSTANCES_MAX * 64)
            .total_memories(INSTANCES_MAX * 2)
            .total_tables(INSTANCES_MAX * 16)
            .max_core_instances_per_component(64)
            .max_memories_per_component(4)
            .max_tables_per_component(16)
            .max_component_instance_size(8 << 20)
            .max_core_instance_size(8 << 20)
            .max_memory_size(MEMORY_MAX_BYTES)
            .table_elements(100_000)
            .linear_memory_keep_resident(64 << 10)
            .table_keep_resident(16 << 10);
        config.allocation_strategy(InstanceAllocationStrategy::Pooling(pool));
    }
    config
}

/// One thread per engine, which ends with it.
fn start_ticker(engine: &Engine) -> Result<(), String> {
    let engine = engine.weak();
    let tick = move || {
        while let Some(engine) = engine.upgrade() {
            engine.increment_epoch();
            drop(engine);
            std::thread::sleep(TICK);
        }
    };
    let thread = std::thread::Builder::new().name("plugin-epochs".to_owned()).spawn(tick);
    thread.map(drop).map_err(|reason| format!("no thread for the plugins' clock: {reason}"))
}
