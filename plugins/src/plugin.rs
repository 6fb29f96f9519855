//! A plugin: a component file that has been checked, compiled and started. It knows which world the component
//! is for, and refuses one that reaches for anything outside.

use std::fs::File;
use std::io::Read;
use std::path::Path;
use std::sync::Arc;

use sha2::{Digest, Sha256};
use wasmtime::component::types::ComponentItem;
use wasmtime::component::{Component, Linker};

use crate::error::{PluginError, PluginFault};
use crate::host::Host;
use crate::limits::{Limits, MEMORY_MAX_BYTES};
use crate::pool::InstancePool;
use crate::transform::Transform;
use crate::world::World;

/// A loaded plugin of the world `transform`. Cheap to clone; all clones share the instances.
#[derive(Clone)]
pub struct Plugin {
    inner: Arc<Loaded>,
}

/// What a component becomes, whatever its world.
pub(crate) struct Loaded {
    pub(crate) name: String,
    pub(crate) sha256: String,
    pub(crate) limits: Limits,
    pub(crate) pool: Arc<InstancePool>,
}

impl Plugin {
    /// Reads, checks, compiles (or takes from the cache) and starts the component at `path`, on the process's
    /// shared host. Its name in errors is the file's stem. Blocking, for as long as compiling takes.
    ///
    /// # Errors
    /// A file that cannot be read or is too large, a hash that differs from `sha256` (hex), bytes that are no
    /// component, a component that imports anything or does not export what the world asks, limits above the
    /// host's, and a start that traps.
    pub fn load(path: &Path, sha256: Option<&str>, limits: &Limits) -> Result<Plugin, PluginError> {
        let name = path.file_stem().unwrap_or(path.as_os_str()).to_string_lossy().into_owned();
        let host = Host::shared().map_err(|reason| PluginFault::Host(reason).of(&name))?;
        Self::load_on(&host, &name, path, sha256, limits)
    }

    /// [`Plugin::load`] on a given host, with the name by which errors call the plugin.
    pub fn load_on(
        host: &Host,
        name: &str,
        path: &Path,
        sha256: Option<&str>,
        limits: &Limits,
    ) -> Result<Plugin, PluginError> {
        let load = || -> Result<Plugin, PluginFault> {
            let bytes = read_component(path, limits)?;
            check_sha256(&sha256_hex(&bytes), sha256)?;
            Ok(Plugin { inner: Arc::new(open(host, name, &bytes, World::Transform, limits)?) })
        };
        load().map_err(|fault| fault.of(name))
    }

    /// The same for a component that has been read.
    ///
    /// # Errors
    /// As [`Plugin::load`], but for the file's.
    pub fn open(host: &Host, name: &str, component: &[u8], limits: &Limits) -> Result<Plugin, PluginError> {
        let loaded = open(host, name, component, World::Transform, limits).map_err(|fault| fault.of(name))?;
        Ok(Plugin { inner: Arc::new(loaded) })
    }

    pub fn name(&self) -> &str {
        &self.inner.name
    }

    /// Hash of the component file, in hex.
    pub fn sha256(&self) -> &str {
        &self.inner.sha256
    }

    /// The plugin as the world `transform`.
    pub fn transform(&self) -> Transform {
        Transform::new(self.inner.name.clone(), self.inner.limits.clone(), self.inner.pool.clone())
    }
}

/// Checks, compiles and starts a component.
pub(crate) fn open(
    host: &Host,
    name: &str,
    bytes: &[u8],
    world: World,
    limits: &Limits,
) -> Result<Loaded, PluginFault> {
    check_limits(limits)?;
    check_is_component(bytes)?;
    let sha256 = sha256_hex(bytes);
    let component = compile(host, &sha256, bytes)?;
    check_imports_nothing(host, &component)?;
    world.check(host.engine(), &component)?;
    let template = Linker::new(host.engine())
        .instantiate_pre(&component)
        .map_err(|reason| PluginFault::Start(format!("{reason:#}")))?;
    let pool = InstancePool::start(template, world.called(), limits.clone())?;
    Ok(Loaded { name: name.to_owned(), sha256, limits: limits.clone(), pool: Arc::new(pool) })
}

fn compile(host: &Host, sha256: &str, bytes: &[u8]) -> Result<Component, PluginFault> {
    host.compile(sha256, bytes).map_err(|reason| PluginFault::NotAComponent(format!("{reason:#}")))
}

/// The worlds that a component is of.
///
/// # Errors
/// When it is no component, imports anything, or is of no world; then what is wrong for the world that it is nearest to.
pub fn worlds_of(host: &Host, bytes: &[u8]) -> Result<Vec<World>, PluginFault> {
    check_is_component(bytes)?;
    let component = compile(host, &sha256_hex(bytes), bytes)?;
    check_imports_nothing(host, &component)?;
    let checked = World::ALL.map(|world| (world, world.check(host.engine(), &component)));
    let kind = component.component_type();
    let nearest =
        World::ALL.into_iter().find(|world| kind.get_export(host.engine(), world.called()).is_some());
    let mut wrong = None;
    let mut worlds = Vec::new();
    for (world, checked) in checked {
        match checked {
            Ok(()) => worlds.push(world),
            Err(fault) if wrong.is_none() || nearest == Some(world) => wrong = Some(fault),
            Err(_) => {}
        }
    }
    match wrong {
        Some(fault) if worlds.is_empty() => Err(fault),
        _ => Ok(worlds),
    }
}

impl std::fmt::Debug for Plugin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Plugin")
            .field("name", &self.inner.name)
            .field("sha256", &self.inner.sha256)
            .finish_non_exhaustive()
    }
}

/// SHA-256 in lower-case hex.
pub fn sha256_hex(bytes: &[u8]) -> String {
    use std::fmt::Write;
    Sha256::digest(bytes).iter().fold(String::with_capacity(64), |mut hex, byte| {
        let _ = write!(hex, "{byte:02x}");
        hex
    })
}

/// The bytes of a component file, if they are not too many.
///
/// # Errors
/// When it cannot be read, or is too large.
pub fn read_component(path: &Path, limits: &Limits) -> Result<Vec<u8>, PluginFault> {
    let unreadable = |reason| PluginFault::Unreadable { path: path.to_owned(), reason };
    let bytes_max = limits.component_bytes_max;
    let file = File::open(path).map_err(unreadable)?;
    let mut bytes = Vec::new();
    file.take(bytes_max.saturating_add(1)).read_to_end(&mut bytes).map_err(unreadable)?;
    if bytes.len() as u64 > bytes_max {
        let length = std::fs::metadata(path).map_or(bytes.len() as u64, |metadata| metadata.len());
        return Err(PluginFault::ComponentTooLarge { path: path.to_owned(), bytes: length, bytes_max });
    }
    Ok(bytes)
}

/// Whether a hash is the one that was asked for, if one was.
pub(crate) fn check_sha256(actual: &str, expected: Option<&str>) -> Result<(), PluginFault> {
    match expected.filter(|expected| !expected.eq_ignore_ascii_case(actual)) {
        Some(expected) => {
            Err(PluginFault::WrongHash { expected: expected.to_owned(), actual: actual.to_owned() })
        }
        None => Ok(()),
    }
}

fn check_limits(limits: &Limits) -> Result<(), PluginFault> {
    if limits.memory_bytes > MEMORY_MAX_BYTES {
        let (value, value_max) = (limits.memory_bytes as u64, MEMORY_MAX_BYTES as u64);
        return Err(PluginFault::LimitTooHigh { limit: "memory", value, value_max });
    }
    Ok(())
}

/// A core module is the likeliest wrong file, and wasmtime's words for it help nobody.
fn check_is_component(bytes: &[u8]) -> Result<(), PluginFault> {
    const MAGIC: &[u8] = b"\0asm";
    const CORE_MODULE: &[u8] = &[1, 0, 0, 0];
    match bytes.split_at_checked(4) {
        Some((MAGIC, rest)) if rest.starts_with(CORE_MODULE) => Err(PluginFault::NotAComponent(
            "it is a core module; wrap it with `wasm-tools component new` or build for wasm32-wasip2"
                .to_owned(),
        )),
        Some((MAGIC, _)) => Ok(()),
        _ => Err(PluginFault::NotAComponent("its first bytes are not those of WebAssembly".to_owned())),
    }
}

fn check_imports_nothing(host: &Host, component: &Component) -> Result<(), PluginFault> {
    let kind = component.component_type();
    // A component may import types without reaching for anything; all else would need something from the
    // host.
    let imports: Vec<_> = kind
        .imports(host.engine())
        .filter(|(_, import)| !matches!(import.ty, ComponentItem::Type(_)))
        .map(|(name, _)| format!("`{name}`"))
        .collect();
    if imports.is_empty() { Ok(()) } else { Err(PluginFault::ForbiddenImports(imports)) }
}
