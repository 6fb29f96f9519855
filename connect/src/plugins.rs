//! The WASM plugins that transforms may name. Whoever runs the worker tells which are installed; where they are kept is not
//! known here.

use std::collections::BTreeMap;

use async_trait::async_trait;
use bytes::Bytes;

use crate::error::ConnectorError;

/// What is installed where the connectors run.
#[async_trait]
pub trait InstalledPlugins: Send + Sync {
    /// All plugins by name, each with the word of its world (`transform`).
    ///
    /// # Errors
    /// When they cannot be read; retriable if that may pass.
    async fn worlds(&self) -> Result<BTreeMap<String, String>, ConnectorError>;

    /// The component of a plugin, if one of this name is installed.
    ///
    /// # Errors
    /// As [`worlds`](InstalledPlugins::worlds).
    async fn component(&self, name: &str) -> Result<Option<Bytes>, ConnectorError>;
}

/// A worker without plugins.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoPlugins;

#[async_trait]
impl InstalledPlugins for NoPlugins {
    async fn worlds(&self) -> Result<BTreeMap<String, String>, ConnectorError> {
        Ok(BTreeMap::new())
    }

    async fn component(&self, _: &str) -> Result<Option<Bytes>, ConnectorError> {
        Ok(None)
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use std::path::Path;
    use std::sync::{Arc, Mutex};

    use super::*;

    /// Plugins in memory: by name, world and component.
    #[derive(Default)]
    pub(crate) struct MemoryPlugins(Mutex<BTreeMap<String, (&'static str, Bytes)>>);

    impl MemoryPlugins {
        /// Each name with the fixture that is installed under it.
        pub(crate) fn new<const COUNT: usize>(all: [(&str, &str); COUNT]) -> Arc<MemoryPlugins> {
            let plugins = MemoryPlugins::default();
            all.iter().for_each(|(name, fixture)| plugins.install(name, fixture));
            Arc::new(plugins)
        }

        pub(crate) fn install(&self, name: &str, fixture: &str) {
            let world = if fixture == "scalar" { "udf-scalar" } else { "transform" };
            self.0.lock().unwrap().insert(name.to_owned(), (world, component(fixture)));
        }
    }

    #[async_trait]
    impl InstalledPlugins for MemoryPlugins {
        async fn worlds(&self) -> Result<BTreeMap<String, String>, ConnectorError> {
            let all = self.0.lock().unwrap();
            Ok(all.iter().map(|(name, (world, _))| (name.clone(), (*world).to_owned())).collect())
        }

        async fn component(&self, name: &str) -> Result<Option<Bytes>, ConnectorError> {
            Ok(self.0.lock().unwrap().get(name).map(|(_, component)| component.clone()))
        }
    }

    /// The component of the example `split-lines` or of a fixture of the plugins' own tests.
    fn component(fixture: &str) -> Bytes {
        let plugins = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().join("plugins");
        let made = match fixture {
            "split-lines" => plugins.join("examples/split-lines/split-lines.wasm"),
            fixture => plugins.join("tests/fixtures").join(fixture).with_extension("wasm"),
        };
        if made.exists() {
            return std::fs::read(made).unwrap().into();
        }
        let text = std::fs::read_to_string(made.with_extension("wat")).unwrap();
        // As the SDKs have a core module say which world it is of.
        let said = "(module (@custom \"component-type:ottla-plugin-1.0-transform\" \"\")";
        let module = wat::parse_str(text.replacen("(module", said, 1)).unwrap();
        ottla_plugins::component_of(&module).unwrap().into()
    }
}
