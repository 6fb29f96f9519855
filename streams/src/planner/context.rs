//! What DataFusion's SQL planner may ask: which tables, functions and options there are.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::datatypes::{DataType, SchemaRef};
use datafusion::common::config::ConfigOptions;
use datafusion::common::{DataFusionError, Result, TableReference};
use datafusion::execution::SessionStateDefaults;
use datafusion::logical_expr::planner::{ContextProvider, ExprPlanner, RelationPlanner};
use datafusion::logical_expr::{AggregateUDF, HigherOrderUDF, ScalarUDF, TableSource, WindowUDF};

use super::catalog::Catalog;
use super::functions::Functions;
use super::window::WindowTableFunctions;

/// The names a query is planned against. The same for streaming and for batch queries, so that both mean the same.
pub(crate) struct PlanningContext {
    tables: BTreeMap<String, Arc<dyn TableSource>>,
    functions: BTreeMap<String, Arc<ScalarUDF>>,
    expr_planners: Vec<Arc<dyn ExprPlanner>>,
    relation_planners: Vec<Arc<dyn RelationPlanner>>,
    options: ConfigOptions,
}

impl PlanningContext {
    /// A context of these tables, and of the catalog's functions.
    pub(crate) fn new(tables: BTreeMap<String, Arc<dyn TableSource>>, catalog: &Catalog) -> Self {
        let functions = catalog.functions();
        PlanningContext {
            tables,
            functions: functions
                .map(|function| (function.name().to_owned(), Arc::new(function.to_udf())))
                .collect(),
            expr_planners: SessionStateDefaults::default_expr_planners(),
            relation_planners: vec![Arc::new(WindowTableFunctions)],
            options: ConfigOptions::default(),
        }
    }

    /// The streams of a catalog as tables without rows.
    pub(crate) fn for_streams(catalog: &Catalog) -> Self {
        let tables = catalog
            .names()
            .filter_map(|name| {
                let schema = Arc::clone(&catalog.get(name)?.schema);
                Some((name.to_owned(), Arc::new(StreamSource { schema }) as Arc<dyn TableSource>))
            })
            .collect();
        PlanningContext::new(tables, catalog)
    }

    /// Whether any function has this name, in lower case.
    pub(crate) fn has_function(&self, name: &str) -> bool {
        self.functions.contains_key(name) || Functions::builtin().contains(name)
    }

    /// The functions' names, for suggestions.
    pub(crate) fn function_names(&self) -> impl Iterator<Item = &str> {
        self.functions.keys().map(String::as_str).chain(Functions::builtin().names())
    }

    /// The tables' names, for suggestions.
    pub(crate) fn table_names(&self) -> impl Iterator<Item = &str> {
        self.tables.keys().map(String::as_str)
    }
}

/// A stream as a table that has columns and no rows. It takes no filters: those stay in the plan, as operators.
#[derive(Debug)]
struct StreamSource {
    schema: SchemaRef,
}

impl TableSource for StreamSource {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }
}

impl ContextProvider for PlanningContext {
    fn get_table_source(&self, name: TableReference) -> Result<Arc<dyn TableSource>> {
        // A dotted topic name written without quotes comes as schema and table.
        self.tables
            .get(&name.to_string())
            .or_else(|| self.tables.get(name.table()))
            .cloned()
            .ok_or_else(|| DataFusionError::Plan(format!("there is no stream `{name}`")))
    }

    fn get_expr_planners(&self) -> &[Arc<dyn ExprPlanner>] {
        &self.expr_planners
    }

    fn get_relation_planners(&self) -> &[Arc<dyn RelationPlanner>] {
        &self.relation_planners
    }

    fn get_function_meta(&self, name: &str) -> Option<Arc<ScalarUDF>> {
        self.functions.get(name).or_else(|| Functions::builtin().scalar.get(name)).cloned()
    }

    fn get_higher_order_meta(&self, _name: &str) -> Option<Arc<HigherOrderUDF>> {
        None
    }

    fn get_aggregate_meta(&self, name: &str) -> Option<Arc<AggregateUDF>> {
        Functions::builtin().aggregate.get(name).cloned()
    }

    fn get_window_meta(&self, name: &str) -> Option<Arc<WindowUDF>> {
        Functions::builtin().window.get(name).cloned()
    }

    fn get_variable_type(&self, _variable_names: &[String]) -> Option<DataType> {
        None
    }

    fn options(&self) -> &ConfigOptions {
        &self.options
    }

    fn udf_names(&self) -> Vec<String> {
        self.functions.keys().chain(Functions::builtin().scalar.keys()).cloned().collect()
    }

    fn higher_order_function_names(&self) -> Vec<String> {
        Vec::new()
    }

    fn udaf_names(&self) -> Vec<String> {
        Functions::builtin().aggregate.keys().cloned().collect()
    }

    fn udwf_names(&self) -> Vec<String> {
        Functions::builtin().window.keys().cloned().collect()
    }
}
