//! Plugins that are installed: a component under a name, for `CREATE FUNCTION`, and for pipelines.
//!
//! A name stands for the same component for as long as something uses it: neither does it go then, nor does it get another.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use ottla_client::Client;
use ottla_plugins::{AnyPlugin, Host, Limits, PluginError, PluginFault};
use serde::{Deserialize, Serialize};

use super::{Engine, EngineError, LostFunction, State, modules};
use crate::sql::{ObjectKind, nearest};

/// The longest name of a plugin.
const NAME_CHARS_MAX: usize = 64;

/// What is known of a component that is installed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct InstalledPlugin {
    /// Of the component, in hex.
    pub sha256: String,
    /// The word of its world, as `transform`.
    pub world: String,
    /// The signatures of its functions; none of a transform.
    pub functions: Vec<String>,
    /// How long the component is.
    pub bytes: usize,
}

/// The plugins of a cluster by name, and the components of those that were asked for.
///
/// # Errors
/// When the cluster cannot be reached, or the topic of plugins holds something else.
pub async fn installed_plugins(
    client: &Client,
    wanted: &[String],
) -> Result<(BTreeMap<String, InstalledPlugin>, BTreeMap<String, Bytes>), EngineError> {
    let installed = modules::read(client, &BTreeSet::new()).await?.installed;
    let is_wanted = |(name, plugin): (&String, &InstalledPlugin)| {
        wanted.contains(name).then(|| (name.clone(), plugin.sha256.clone()))
    };
    let named: BTreeMap<String, String> = installed.iter().filter_map(is_wanted).collect();
    if named.is_empty() {
        return Ok((installed, BTreeMap::new()));
    }
    let modules = modules::read(client, &named.values().cloned().collect()).await?.modules;
    let components =
        named.into_iter().filter_map(|(name, sha256)| Some((name, modules.get(&sha256)?.clone())));
    Ok((installed, components.collect()))
}

/// A component that a server can use, for [`Engine::install_plugin`].
#[derive(Debug)]
pub struct CheckedPlugin {
    name: String,
    component: Bytes,
    plugin: InstalledPlugin,
}

impl CheckedPlugin {
    /// Checks a name and a component, and starts it as a query would. That may take seconds, so nothing should wait for it.
    ///
    /// # Errors
    /// [`EngineError::PluginName`], and [`EngineError::Plugin`] when a server could not use it.
    pub async fn new(name: &str, component: Bytes) -> Result<CheckedPlugin, EngineError> {
        check_name(name)?;
        let plugin = checked(name, component.clone()).await?;
        Ok(CheckedPlugin { name: name.to_owned(), component, plugin })
    }
}

impl Engine {
    /// The plugins that are installed, each with the functions that are made of its component.
    pub async fn plugins(&self) -> Vec<(String, InstalledPlugin, Vec<String>)> {
        let state = self.state.lock().await;
        let told = state
            .installed
            .iter()
            .map(|(name, plugin)| (name.clone(), plugin.clone(), state.functions_of(&plugin.sha256)));
        told.collect()
    }

    /// The component of an installed plugin.
    ///
    /// # Errors
    /// [`EngineError::NoPlugin`], and when the cluster cannot be reached.
    pub async fn plugin_component(&self, name: &str) -> Result<Bytes, EngineError> {
        let sha256 = self.state.lock().await.installed(name)?.sha256.clone();
        let gone = || EngineError::NoPlugin { name: name.to_owned(), nearest: None };
        modules::read(&self.client, &BTreeSet::from([sha256.clone()]))
            .await?
            .modules
            .remove(&sha256)
            .ok_or_else(gone)
    }

    /// Keeps a component under its name. Installed again it changes nothing; another component takes the name only while nothing
    /// uses it: no function, and none of `users`.
    ///
    /// # Errors
    /// [`EngineError::PluginInUse`], and when the cluster cannot be reached.
    pub async fn install_plugin(
        &self,
        checked: CheckedPlugin,
        users: &[String],
    ) -> Result<InstalledPlugin, EngineError> {
        let CheckedPlugin { name, component, plugin } = checked;
        let mut state = self.state.lock().await;
        let before = state.installed.get(&name).cloned();
        match &before {
            Some(before) if before.sha256 == plugin.sha256 => return Ok(plugin),
            Some(before) => state.refuse_used(&name, before, users)?,
            None => {}
        }
        // The module first: a name must not be kept without it.
        if !state.is_module_kept(&plugin.sha256) {
            modules::keep(&self.client, &plugin.sha256, &component).await?;
        }
        modules::keep_name(&self.client, &name, Some(&plugin)).await?;
        state.installed.insert(name, plugin.clone());
        if let Some(before) = before {
            state.forget_module(&self.client, &before.sha256, before.bytes).await?;
        }
        Ok(plugin)
    }

    /// Forgets a plugin that nothing uses: no function, and none of `users`.
    ///
    /// # Errors
    /// [`EngineError::NoPlugin`], [`EngineError::PluginInUse`], and when the cluster cannot be reached.
    pub async fn uninstall_plugin(&self, name: &str, users: &[String]) -> Result<(), EngineError> {
        let mut state = self.state.lock().await;
        let plugin = state.installed(name)?.clone();
        state.refuse_used(name, &plugin, users)?;
        modules::keep_name(&self.client, name, None).await?;
        state.installed.remove(name);
        state.forget_module(&self.client, &plugin.sha256, plugin.bytes).await
    }
}

impl State {
    fn installed(&self, name: &str) -> Result<&InstalledPlugin, EngineError> {
        let nearest = || nearest(name, self.installed.keys().map(String::as_str)).map(str::to_owned);
        self.installed
            .get(name)
            .ok_or_else(|| EngineError::NoPlugin { name: name.to_owned(), nearest: nearest() })
    }

    /// The functions that are made of the component with this hash, those too that could not be started again.
    fn functions_of(&self, sha256: &str) -> Vec<String> {
        let functions = self.objects.of_kind(ObjectKind::Function);
        let of_it = functions.filter(|object| object.kept.module.as_deref() == Some(sha256));
        let needs_it = |lost: &LostFunction| lost.module == sha256 && lost.module_bytes.is_some();
        let lost = self.lost.iter().filter(|(_, lost)| needs_it(lost));
        of_it.map(|object| object.kept.name.clone()).chain(lost.map(|(name, _)| name.clone())).collect()
    }

    fn refuse_used(&self, name: &str, plugin: &InstalledPlugin, users: &[String]) -> Result<(), EngineError> {
        let functions = self.functions_of(&plugin.sha256).into_iter();
        let mut users_told: Vec<String> = functions.map(|function| format!("function {function}")).collect();
        users_told.extend_from_slice(users);
        match users_told.is_empty() {
            true => Ok(()),
            false => Err(EngineError::PluginInUse { name: name.to_owned(), users: users_told.join(", ") }),
        }
    }

    /// Whether a module is in the topic for a function or a plugin.
    pub(super) fn is_module_kept(&self, sha256: &str) -> bool {
        self.installed.values().any(|plugin| plugin.sha256 == sha256) || !self.functions_of(sha256).is_empty()
    }

    /// Forgets a module of this size that nothing needs any more.
    pub(super) async fn forget_module(
        &self,
        client: &Client,
        sha256: &str,
        bytes: usize,
    ) -> Result<(), EngineError> {
        match self.is_module_kept(sha256) {
            true => Ok(()),
            false => Ok(modules::forget(client, sha256, bytes).await?),
        }
    }
}

/// A name can be told from a path to a file, which has a dot or a slash.
fn check_name(name: &str) -> Result<(), EngineError> {
    let is_name = name.starts_with(|first: char| first.is_ascii_alphabetic())
        && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '-' || c == '_')
        && name.len() <= NAME_CHARS_MAX;
    if is_name { Ok(()) } else { Err(EngineError::PluginName(name.chars().take(100).collect())) }
}

/// Compiling takes long.
async fn checked(name: &str, component: Bytes) -> Result<InstalledPlugin, EngineError> {
    let plugin = name.to_owned();
    let check = move || -> Result<InstalledPlugin, PluginError> {
        let host = Host::shared()
            .map_err(|reason| PluginError { plugin: plugin.clone(), fault: PluginFault::Host(reason) })?;
        let opened = AnyPlugin::open(&host, &plugin, &component, &Limits::default())?;
        Ok(InstalledPlugin {
            sha256: opened.sha256().to_owned(),
            world: opened.world().word().to_owned(),
            functions: opened.signatures().iter().map(ToString::to_string).collect(),
            bytes: component.len(),
        })
    };
    let torn_down =
        |_| PluginError { plugin: name.to_owned(), fault: PluginFault::Host("the server stops".to_owned()) };
    Ok(tokio::task::spawn_blocking(check).await.map_err(torn_down)??)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_name_can_be_taken_for_a_path() {
        for name in ["decode", "text-functions", "Decode_2", "a"] {
            assert!(check_name(name).is_ok(), "{name}");
        }
        for name in ["", "a.wasm", "a/b", "-a", "2a", "é", "a b", &"a".repeat(65)] {
            let error = check_name(name).unwrap_err();
            assert!(error.to_string().contains("is no name of a plugin"), "{error}");
        }
    }

    #[test]
    fn what_is_kept_of_a_plugin_reads_back() {
        let plugin = InstalledPlugin {
            sha256: "00".repeat(32),
            world: "udf-scalar".to_owned(),
            functions: vec!["mask(utf8, int64) -> utf8".to_owned()],
            bytes: 7,
        };
        let written = serde_json::to_vec(&plugin).unwrap();
        assert_eq!(serde_json::from_slice::<InstalledPlugin>(&written).unwrap(), plugin);
    }
}
