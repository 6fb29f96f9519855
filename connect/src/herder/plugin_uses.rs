//! Which connectors call which installed plugin, so that none goes while one does.
//!
//! ```text
//!   a connector is put   look whether its plugins are installed, note the use ─► stop, store, start ─► its properties say so
//!   a plugin goes                                                             look who uses it ─► forget it
//! ```
//! The two looks exclude each other, and what follows the first may take long.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use tokio::sync::{RwLock, RwLockWriteGuard};

use super::definition::Properties;
use super::herder::{Herder, HerderError};
use crate::error::FieldError;
use crate::registry::nearest_word;
use crate::transforms::plugins_named;

/// The word of the world whose plugins transforms call.
const WORLD: &str = "transform";

#[derive(Default)]
pub(super) struct PluginUses {
    /// Shared by who looks whether plugins are installed, until the use is noted; alone by who may take one away.
    looking: RwLock<()>,
    /// Of changes under way.
    coming: Mutex<Vec<Weak<ComingUse>>>,
}

/// A use by a connector that does not have its properties yet; it is noted until this is dropped.
pub(super) struct ComingUse {
    connector: String,
    plugins: Vec<String>,
}

/// The connectors as users of plugins. While this is held, no connector begins to use one.
pub struct PluginUsers<'a> {
    herder: &'a Herder,
    _alone: RwLockWriteGuard<'a, ()>,
}

impl PluginUsers<'_> {
    /// The connectors whose transforms call the plugin of this name, also while they are stopped.
    #[must_use]
    pub fn of(&self, plugin: &str) -> Vec<String> {
        let names_it = |name: &&String| {
            let properties = self.herder.existing(name).ok().and_then(|found| found.properties());
            properties.is_some_and(|found| plugins_named(&found).iter().any(|(_, named)| named == plugin))
        };
        let mut users: BTreeSet<String> = self.herder.names().iter().filter(names_it).cloned().collect();
        let coming = self.herder.inner.plugin_uses.coming.lock().unwrap_or_else(PoisonError::into_inner);
        let coming = coming.iter().filter_map(Weak::upgrade);
        let coming = coming.filter(|one| one.plugins.iter().any(|named| named == plugin));
        users.extend(coming.map(|one| one.connector.clone()));
        users.into_iter().collect()
    }
}

impl Herder {
    /// Who uses which installed plugin, once it is known which connectors there are.
    ///
    /// # Errors
    /// When that takes too long.
    pub async fn plugin_users(&self) -> Result<PluginUsers<'_>, HerderError> {
        self.loaded().await?;
        let _alone = self.inner.plugin_uses.looking.write().await;
        Ok(PluginUsers { herder: self, _alone })
    }

    /// Notes that a connector is about to use the plugins of its transforms, and tells what is wrong with their names.
    pub(super) async fn use_plugins(
        &self,
        connector: &str,
        properties: &Properties,
    ) -> Result<(Arc<ComingUse>, Vec<FieldError>), HerderError> {
        let uses = &self.inner.plugin_uses;
        let _together = uses.looking.read().await;
        let plugins = plugins_named(properties).into_iter().map(|(_, plugin)| plugin).collect();
        let coming = Arc::new(ComingUse { connector: connector.to_owned(), plugins });
        {
            let mut all = uses.coming.lock().unwrap_or_else(PoisonError::into_inner);
            all.retain(|one| one.strong_count() > 0);
            all.push(Arc::downgrade(&coming));
        }
        Ok((coming, self.wrong_plugins(properties).await?))
    }

    /// What is wrong with the names of plugins in properties.
    pub(super) async fn wrong_plugins(
        &self,
        properties: &Properties,
    ) -> Result<Vec<FieldError>, HerderError> {
        let named = plugins_named(properties);
        if named.is_empty() {
            return Ok(Vec::new());
        }
        let installed = self.inner.plugins.worlds().await;
        let installed = installed.map_err(|error| HerderError::Failed(error.to_string()))?;
        let wrong = named.into_iter().filter_map(|(property, name)| {
            let message = match installed.get(&name) {
                Some(world) if world == WORLD => return None,
                Some(world) => format!("the plugin `{name}` is of the world {world}, and no transform"),
                None => {
                    let transforms = installed.iter().filter(|(_, world)| *world == WORLD);
                    let hint = match nearest_word(&name, transforms.map(|(name, _)| name.as_str())) {
                        Some(nearest) => format!("did you mean `{nearest}`?"),
                        None => "install it with `ottla plugin install`".to_owned(),
                    };
                    format!("no plugin `{name}` is installed; {hint}")
                }
            };
            Some(FieldError::new(property, message))
        });
        Ok(wrong.collect())
    }
}
