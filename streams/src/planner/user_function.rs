//! A plugin's function as DataFusion's expressions call it.

use std::hash::{Hash, Hasher};

use arrow::datatypes::DataType;
use datafusion::common::{DataFusionError, Result};
use datafusion::logical_expr::{
    ColumnarValue, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
};
use ottla_plugins::{FunctionSignature, Limits, PluginFault, ScalarFunction};

/// A function that `CREATE FUNCTION` has declared.
#[derive(Debug, Clone)]
pub struct UserFunction {
    name: String,
    module_sha256: String,
    function: ScalarFunction,
    signature: Signature,
}

/// Why a function could not be asked, which is nothing about a row: the query cannot go on.
#[derive(Debug, thiserror::Error)]
#[error("function {function}: {reason}")]
pub(crate) struct FunctionFailure {
    function: String,
    reason: String,
}

impl UserFunction {
    /// `function` of the module with this hash, by a name in lower case.
    pub fn new(name: &str, module_sha256: &str, function: ScalarFunction) -> Self {
        let types = function.signature().arguments.iter().map(|kind| kind.data_type()).collect::<Vec<_>>();
        let signature = match types.is_empty() {
            true => Signature::nullary(Volatility::Immutable),
            false => Signature::exact(types, Volatility::Immutable),
        };
        UserFunction { name: name.to_owned(), module_sha256: module_sha256.to_owned(), function, signature }
    }

    /// Its name in SQL.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The hash of its module, in hex.
    pub fn module_sha256(&self) -> &str {
        &self.module_sha256
    }

    /// The plugin that has it.
    pub fn plugin(&self) -> &str {
        self.function.plugin()
    }

    /// What it takes and gives, with the name that it has in its module.
    pub fn signature(&self) -> &FunctionSignature {
        self.function.signature()
    }

    /// What its plugin may use.
    pub fn limits(&self) -> &Limits {
        self.function.limits()
    }

    /// What tells it from another of its name.
    pub fn fingerprint(&self) -> String {
        format!("{} = {} of {}", self.name, self.signature(), self.module_sha256)
    }

    /// The same for DataFusion.
    pub(crate) fn to_udf(&self) -> ScalarUDF {
        ScalarUDF::new_from_impl(self.clone())
    }
}

/// Whether the error is that of a function that failed, not of a row that it refused.
pub(crate) fn is_function_failure(error: &DataFusionError) -> bool {
    matches!(error.find_root(), DataFusionError::External(inner) if inner.is::<FunctionFailure>())
}

impl PartialEq for UserFunction {
    fn eq(&self, other: &Self) -> bool {
        (&self.name, &self.module_sha256, self.signature())
            == (&other.name, &other.module_sha256, other.signature())
    }
}

impl Eq for UserFunction {}

impl Hash for UserFunction {
    fn hash<H: Hasher>(&self, state: &mut H) {
        (&self.name, &self.module_sha256, self.function.signature()).hash(state);
    }
}

impl ScalarUDFImpl for UserFunction {
    fn name(&self) -> &str {
        &self.name
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _argument_types: &[DataType]) -> Result<DataType> {
        Ok(self.function.signature().returns.data_type())
    }

    /// # Errors
    /// What the plugin says of a row is that row's error. Whatever else goes wrong may go otherwise the next time, so rows that
    /// it happened to must not be taken for bad ones: that is a [`FunctionFailure`].
    fn invoke_with_args(&self, arguments: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let rows = arguments.number_rows;
        let columns: Vec<_> =
            arguments.args.into_iter().map(|value| value.into_array(rows)).collect::<Result<_>>()?;
        let error = match computing(|| self.function.call(&columns, rows)) {
            Ok(column) => return Ok(ColumnarValue::Array(column)),
            Err(error) => error,
        };
        Err(match &error.fault {
            PluginFault::Refused(reason) => {
                DataFusionError::Execution(format!("function {}: {reason}", self.name))
            }
            _ => DataFusionError::External(Box::new(FunctionFailure {
                function: self.name.clone(),
                reason: error.to_string(),
            })),
        })
    }
}

/// A plugin may take seconds until it is stopped; meanwhile another thread takes this one's tasks.
fn computing<T>(compute: impl FnOnce() -> T) -> T {
    let flavor = tokio::runtime::Handle::try_current().map(|runtime| runtime.runtime_flavor());
    match flavor {
        Ok(tokio::runtime::RuntimeFlavor::MultiThread) => tokio::task::block_in_place(compute),
        _ => compute(),
    }
}
