//! From a module to a function that SQL may call.

use std::path::Path;

use bytes::Bytes;
use ottla_plugins::{FunctionSignature, Host, Limits, PluginError, ScalarPlugin, read_component};

use crate::planner::UserFunction;
use crate::sql::{CreateFunction, SqlError};

/// A module that has been read and started.
#[derive(Debug, Clone)]
pub(super) struct Module {
    plugin: ScalarPlugin,
    /// The component.
    pub(super) bytes: Bytes,
}

impl Module {
    /// Reads and starts the module that a statement names: a path, on this machine.
    ///
    /// # Errors
    /// When it cannot be read, or is no plugin of the world `udf-scalar`; at the module's place in the text.
    pub(super) async fn of_statement(create: &CreateFunction) -> Result<Module, SqlError> {
        let path = create.module.text.clone();
        let read = move || {
            let name = file_stem(&path);
            let bytes = read_component(Path::new(&path), &Limits::default())
                .map_err(|fault| PluginError { plugin: name.clone(), fault })?;
            start(&name, bytes.into())
        };
        Self::on_a_thread(create, read).await
    }

    /// Starts the module that was kept for a statement.
    ///
    /// # Errors
    /// As [`Module::of_statement`].
    pub(super) async fn of_bytes(create: &CreateFunction, bytes: Bytes) -> Result<Module, SqlError> {
        let name = file_stem(&create.module.text);
        Self::on_a_thread(create, move || start(&name, bytes)).await
    }

    /// Compiling takes long.
    async fn on_a_thread(
        create: &CreateFunction,
        start: impl FnOnce() -> Result<Module, PluginError> + Send + 'static,
    ) -> Result<Module, SqlError> {
        let at = create.module.position;
        match tokio::task::spawn_blocking(start).await {
            Ok(module) => module.map_err(|error| SqlError::new(at, error.to_string())),
            Err(_) => Err(SqlError::new(at, "the module could not be started: the server stops")),
        }
    }

    /// Its hash, in hex.
    pub(super) fn sha256(&self) -> &str {
        self.plugin.sha256()
    }

    /// The function that a statement declares.
    ///
    /// # Errors
    /// When the module has no such function, or one that takes or gives something else.
    pub(super) fn function(&self, create: &CreateFunction) -> Result<UserFunction, SqlError> {
        let there = self.plugin.signatures();
        let told = || there.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
        let error = |message| SqlError::new(create.name.position, message);
        // A module of one function need not call it as SQL does.
        let wanted = match there {
            [only] if !create.is_function_named => &only.name,
            _ => &create.signature.name,
        };
        let Some(function) = self.plugin.function(wanted) else {
            let missing = error(format!("`{}` has no function `{wanted}`", create.module.text));
            return Err(missing
                .with_help(format!("it has {}; name one with AS 'module', 'function'", told()))
                .with_nearest(wanted, there.iter().map(|function| function.name.as_str())));
        };
        let FunctionSignature { arguments, returns, .. } = function.signature();
        if (arguments, returns) != (&create.signature.arguments, &create.signature.returns) {
            let declared = FunctionSignature { name: wanted.clone(), ..create.signature.clone() };
            return Err(error(format!("the statement declares {declared}, and the module has {}", function.signature()))
                .with_help(
                    "declare what the module has: boolean is BOOLEAN, int64 INT, float64 DOUBLE, utf8 STRING, binary BYTES, timestamp TIMESTAMP",
                ));
        }
        Ok(UserFunction::new(&create.name.text, self.sha256(), function))
    }
}

fn start(name: &str, bytes: Bytes) -> Result<Module, PluginError> {
    let host = Host::shared().map_err(|reason| PluginError {
        plugin: name.to_owned(),
        fault: ottla_plugins::PluginFault::Host(reason),
    })?;
    Ok(Module { plugin: ScalarPlugin::open(&host, name, &bytes, &Limits::default())?, bytes })
}

fn file_stem(path: &str) -> String {
    Path::new(path).file_stem().map_or_else(|| path.to_owned(), |stem| stem.to_string_lossy().into_owned())
}
