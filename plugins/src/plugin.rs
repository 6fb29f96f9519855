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

/// A loaded plugin. Cheap to clone; all clones share the instances.
#[derive(Clone)]
pub struct Plugin {
    inner: Arc<PluginInner>,
}

struct PluginInner {
    name: String,
    sha256: String,
    limits: Limits,
    pool: Arc<InstancePool>,
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
            let bytes = read(path, limits)?;
            let actual = sha256_hex(&bytes);
            if let Some(expected) = sha256.filter(|expected| !expected.eq_ignore_ascii_case(&actual)) {
                return Err(PluginFault::WrongHash { expected: expected.to_owned(), actual });
            }
            check_limits(limits)?;
            check_is_component(&bytes)?;
            let component = host
                .compile(&actual, &bytes)
                .map_err(|reason| PluginFault::NotAComponent(format!("{reason:#}")))?;
            check_imports_nothing(host, &component)?;
            check_exports_transform(host, &component)?;
            let template = Linker::new(host.engine())
                .instantiate_pre(&component)
                .map_err(|reason| PluginFault::Start(format!("{reason:#}")))?;
            let pool = InstancePool::start(template, TRANSFORM, limits.clone())?;
            let inner = PluginInner {
                name: name.to_owned(),
                sha256: actual,
                limits: limits.clone(),
                pool: Arc::new(pool),
            };
            Ok(Plugin { inner: Arc::new(inner) })
        };
        load().map_err(|fault| fault.of(name))
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

impl std::fmt::Debug for Plugin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Plugin")
            .field("name", &self.inner.name)
            .field("sha256", &self.inner.sha256)
            .finish_non_exhaustive()
    }
}

/// The function that the world `transform` exports.
const TRANSFORM: &str = "transform";
const TRANSFORM_TYPE: &str = "func(batch: list<u8>) -> result<list<u8>, string>";

/// SHA-256 in lower-case hex.
pub fn sha256_hex(bytes: &[u8]) -> String {
    use std::fmt::Write;
    Sha256::digest(bytes).iter().fold(String::with_capacity(64), |mut hex, byte| {
        let _ = write!(hex, "{byte:02x}");
        hex
    })
}

fn read(path: &Path, limits: &Limits) -> Result<Vec<u8>, PluginFault> {
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

fn check_exports_transform(host: &Host, component: &Component) -> Result<(), PluginFault> {
    let wrong = |reason| PluginFault::WrongExport { export: TRANSFORM, expected: TRANSFORM_TYPE, reason };
    let kind = component.component_type();
    let Some(export) = kind.get_export(host.engine(), TRANSFORM) else {
        let exports: Vec<_> = kind.exports(host.engine()).map(|(name, _)| format!("`{name}`")).collect();
        let exports = if exports.is_empty() { "nothing".to_owned() } else { exports.join(", ") };
        return Err(wrong(format!("it exports {exports}")));
    };
    let ComponentItem::ComponentFunc(function) = export.ty else {
        return Err(wrong("it is not a function".to_owned()));
    };
    use wasmtime::component::types::Type;
    let bytes = |kind: &Type| matches!(kind, Type::List(list) if list.ty() == Type::U8);
    let params: Vec<_> = function.params().map(|(_, kind)| kind).collect();
    let results: Vec<_> = function.results().collect();
    let [param] = params.as_slice() else {
        return Err(wrong(format!("it takes {} parameters", params.len())));
    };
    if !bytes(param) {
        return Err(wrong("its parameter is not a list<u8>".to_owned()));
    }
    match results.as_slice() {
        [Type::Result(result)]
            if result.ok().is_some_and(|ok| bytes(&ok)) && result.err() == Some(Type::String) =>
        {
            Ok(())
        }
        _ => Err(wrong("its result is another".to_owned())),
    }
}
