//! `GROUP BY`: which groups close, and how each aggregate is kept up to date.

use std::sync::Arc;

use arrow::datatypes::{DataType, Schema};
use datafusion::common::DFSchema;
use datafusion::execution::context::ExecutionProps;
use datafusion::logical_expr::physical_planning_context::PhysicalPlanningContext;
use datafusion::logical_expr::{Aggregate, Expr};
use datafusion::physical_expr::aggregate::{AggregateExprBuilder, LoweredAggregate, LoweredAggregateBuilder};

use super::{Lowering, Relation, arrow_schema, key_of};
use crate::planner::facts::ColumnFacts;
use crate::planner::plan::{
    AggregateCall, AggregateKind, AggregateNode, Closing, Holding, Operator, SortKey, StateBound,
};
use crate::sql::{Emit, SqlError};

impl Lowering<'_> {
    pub(super) fn aggregate(&mut self, aggregate: &Aggregate) -> Result<Relation, SqlError> {
        let input = self.visit(&aggregate.input)?;
        let input_schema = aggregate.input.schema();
        let input_retracts = self.retracts(&input);
        let group = self.physical_all(&aggregate.group_expr, input_schema)?;
        let groups = self.facts(&aggregate.group_expr, &input, input_schema);
        let schema = arrow_schema(&aggregate.schema);
        let (group_fields, _) = schema.fields().split_at(group.len());
        let group_schema = Arc::new(Schema::new(group_fields.to_vec()));
        self.check_all_storable(&group_schema, "GROUP BY")?;
        let calls = aggregate
            .aggr_expr
            .iter()
            .map(|expr| self.call(expr, input_schema, input_retracts))
            .collect::<Result<Vec<_>, _>>()?;

        let closing = closing_of(&groups);
        self.windows.any |= groups.iter().any(|facts| facts.window.is_some());
        self.windows.any_closes |= closing.is_some();
        let emit = match (self.emit, closing) {
            (Some((Emit::Final, _)), Some(_)) => Emit::Final,
            (_, _) => Emit::Changes,
        };
        // Groups that only come into being are never taken back.
        let retracts = emit == Emit::Changes && (input_retracts || !calls.is_empty());
        let state =
            if closing.is_some() { StateBound::Watermark } else { StateBound::Unbounded(Holding::Groups) };
        let mut columns = groups;
        let keys = key_of(&columns);
        columns.resize(schema.fields().len(), ColumnFacts::default());
        let node = AggregateNode { group, group_schema, calls, closing, emit, schema: Arc::clone(&schema) };
        let operator = Operator::Aggregate(Arc::new(node));
        let node = self.push(operator, vec![input.node], schema, retracts, &keys, state);
        Ok(Relation { node, columns, keys, lost: None })
    }

    fn call(&self, expr: &Expr, input: &DFSchema, retracts: bool) -> Result<AggregateCall, SqlError> {
        let (props, context) = (ExecutionProps::new(), PhysicalPlanningContext::default());
        let name = expr.schema_name().to_string();
        let lowered = LoweredAggregateBuilder::new(expr, input, input.as_arrow(), &props, &context)
            .with_name(name.clone())
            .build()
            .map_err(|error| self.datafusion(error))?;
        let kind = self.kind(&lowered, retracts)?;
        let LoweredAggregate { aggregate, filter, order_bys } = lowered;
        let is_distinct = aggregate.is_distinct();
        let arguments = aggregate.expressions();
        // Distinct values and their order are our own work; DataFusion's function sees them one by one.
        let function = match is_distinct || !order_bys.is_empty() {
            true => {
                let schema = Arc::new(input.as_arrow().clone());
                let plain = AggregateExprBuilder::new(Arc::new(aggregate.fun().clone()), arguments.clone())
                    .schema(schema)
                    .alias(aggregate.name())
                    .with_ignore_nulls(aggregate.ignore_nulls())
                    .build();
                Arc::new(plain.map_err(|error| self.datafusion(error))?)
            }
            false => aggregate,
        };
        let argument_types = arguments
            .iter()
            .map(|argument| argument.data_type(input.as_arrow()))
            .collect::<Result<Vec<_>, _>>()
            .map_err(|error| self.datafusion(error))?;
        let call = AggregateCall {
            kind,
            function,
            arguments,
            argument_types,
            order: order_bys
                .into_iter()
                .map(|sort| SortKey { expression: sort.expr, options: sort.options })
                .collect(),
            is_distinct,
            filter,
            name,
        };
        self.check_call(&call, input)?;
        Ok(call)
    }

    /// How an aggregate is kept up to date.
    fn kind(&self, lowered: &LoweredAggregate, retracts: bool) -> Result<AggregateKind, SqlError> {
        let function = &lowered.aggregate;
        let name = function.fun().name();
        let result = function.field().data_type().clone();
        let is_ordered = !lowered.order_bys.is_empty();
        let is_distinct = function.is_distinct();
        if matches!(name, "first_value" | "last_value" | "nth_value" | "string_agg") && !is_ordered {
            return Err(self
                .error(format!(
                    "{name} depends on the order of rows, which a stream of partitions does not have"
                ))
                .with_help(format!("give it one, as in {name}(… ORDER BY time)")));
        }
        Ok(match (name, is_distinct) {
            ("count", false) => AggregateKind::Count,
            ("count", true) if function.expressions().len() == 1 => AggregateKind::CountDistinct,
            ("sum", false) if is_whole(&result) => AggregateKind::Sum,
            ("sum", false) if result == DataType::Float64 => AggregateKind::ExactSum,
            ("avg", false) if matches!(result, DataType::Decimal128(_, _)) => AggregateKind::Average,
            ("avg", false) if result == DataType::Float64 => AggregateKind::ExactAverage,
            ("min" | "max", _) if !retracts => AggregateKind::Merged,
            ("min", _) => AggregateKind::First,
            ("max", _) => AggregateKind::Last,
            ("first_value", _) if !function.ignore_nulls() => AggregateKind::First,
            ("last_value", _) if !function.ignore_nulls() => AggregateKind::Last,
            (_, false) if !retracts && !is_ordered && name != "array_agg" => AggregateKind::Merged,
            (_, _) => AggregateKind::Replayed,
        })
    }

    fn check_call(&self, call: &AggregateCall, input: &DFSchema) -> Result<(), SqlError> {
        match call.kind {
            AggregateKind::Merged => {
                for field in call.function.state_fields().map_err(|error| self.datafusion(error))? {
                    self.check_storable(field.data_type(), &call.name)?;
                }
            }
            AggregateKind::CountDistinct
            | AggregateKind::First
            | AggregateKind::Last
            | AggregateKind::Replayed => {
                let ordered = call.order.iter().map(|key| &key.expression);
                for expression in call.arguments.iter().chain(ordered) {
                    let data_type =
                        expression.data_type(input.as_arrow()).map_err(|error| self.datafusion(error))?;
                    self.check_storable(&data_type, &call.name)?;
                }
            }
            _ => {}
        }
        Ok(())
    }
}

/// The column of a group that says when it is complete; the first, if several do.
pub(super) fn closing_of(columns: &[ColumnFacts]) -> Option<Closing> {
    columns
        .iter()
        .enumerate()
        .find_map(|(column, facts)| Some(Closing { column, after_ms: facts.closes_ms? }))
}

fn is_whole(data_type: &DataType) -> bool {
    matches!(data_type, DataType::Int64 | DataType::UInt64 | DataType::Decimal128(_, _))
}
