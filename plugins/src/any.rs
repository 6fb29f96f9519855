//! A plugin of whichever world its component is of, for who takes any.

use std::path::Path;

use crate::error::{PluginError, PluginFault};
use crate::host::Host;
use crate::limits::Limits;
use crate::plugin::{Plugin, check_sha256, read_component, sha256_hex, worlds_of};
use crate::scalar::ScalarPlugin;
use crate::signature::FunctionSignature;
use crate::world::World;

/// A loaded plugin. Cheap to clone; all clones share the instances.
#[derive(Clone, Debug)]
pub enum AnyPlugin {
    /// Records in, records out.
    Transform(Plugin),
    /// Functions for SQL.
    Scalar(ScalarPlugin),
}

impl AnyPlugin {
    /// Checks, compiles (or takes from the cache) and starts a component, and asks one of functions what they are. Of several
    /// worlds it is the first of [`World::ALL`]. `name` is what errors call it. Blocking, for as long as compiling takes.
    ///
    /// # Errors
    /// As [`ScalarPlugin::open`]; for a component of no world, what is wrong for the one that it is nearest to.
    pub fn open(
        host: &Host,
        name: &str,
        component: &[u8],
        limits: &Limits,
    ) -> Result<AnyPlugin, PluginError> {
        let bytes_max = limits.component_bytes_max;
        if component.len() as u64 > bytes_max {
            let (path, bytes) = (name.into(), component.len() as u64);
            return Err(PluginFault::ComponentTooLarge { path, bytes, bytes_max }.of(name));
        }
        let worlds = worlds_of(host, component).map_err(|fault| fault.of(name))?;
        match worlds.first() {
            Some(World::UdfScalar) => {
                ScalarPlugin::open(host, name, component, limits).map(AnyPlugin::Scalar)
            }
            _ => Plugin::open(host, name, component, limits).map(AnyPlugin::Transform),
        }
    }

    /// [`AnyPlugin::open`] of bytes that must have this hash (hex), where one is given.
    ///
    /// # Errors
    /// As [`AnyPlugin::open`], and when the hash is another.
    pub fn open_checked(
        host: &Host,
        name: &str,
        component: &[u8],
        sha256: Option<&str>,
        limits: &Limits,
    ) -> Result<AnyPlugin, PluginError> {
        check_sha256(&sha256_hex(component), sha256).map_err(|fault| fault.of(name))?;
        Self::open(host, name, component, limits)
    }

    /// The same for a file.
    ///
    /// # Errors
    /// As [`AnyPlugin::open_checked`], and when the file cannot be read or is too large.
    pub fn load_on(
        host: &Host,
        name: &str,
        path: &Path,
        sha256: Option<&str>,
        limits: &Limits,
    ) -> Result<AnyPlugin, PluginError> {
        let component = read_component(path, limits).map_err(|fault| fault.of(name))?;
        Self::open_checked(host, name, &component, sha256, limits)
    }

    /// The world that it is of.
    pub fn world(&self) -> World {
        match self {
            AnyPlugin::Transform(_) => World::Transform,
            AnyPlugin::Scalar(_) => World::UdfScalar,
        }
    }

    /// Hash of the component, in hex.
    pub fn sha256(&self) -> &str {
        match self {
            AnyPlugin::Transform(plugin) => plugin.sha256(),
            AnyPlugin::Scalar(plugin) => plugin.sha256(),
        }
    }

    /// What its functions take and give; none of a transform.
    pub fn signatures(&self) -> &[FunctionSignature] {
        match self {
            AnyPlugin::Transform(_) => &[],
            AnyPlugin::Scalar(plugin) => plugin.signatures(),
        }
    }
}
