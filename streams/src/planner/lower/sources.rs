//! What a query reads: each stream or table once, with all the columns that any part of the query uses.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use arrow::datatypes::{Schema, SchemaRef};
use datafusion::logical_expr::{LogicalPlan, TableScan};
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::expressions::Column;

use super::{Lowering, Relation, arrow_schema};
use crate::planner::catalog::Stream;
use crate::planner::facts::{ColumnFacts, KeyPart, ROWTIME_CLOSES_MS, SourceColumn};
use crate::planner::plan::{EventTime, Holding, Node, Operator, SourceNode, StateBound};
use crate::sql::SqlError;

impl Lowering<'_> {
    /// Collects the streams that the plan scans and makes a node for each.
    pub(super) fn find_sources(&mut self, plan: &LogicalPlan) -> Result<(), SqlError> {
        let mut used: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        self.find_columns(plan, &mut used)?;
        for (name, columns) in used {
            let Some(stream) = self.catalog.get(&name) else { continue };
            let schema = decoded_schema(stream, columns);
            self.check_all_storable_if_table(stream, &schema)?;
            let index = |column: &String| schema.index_of(column).ok();
            let primary_key: Option<Vec<usize>> =
                stream.primary_key.as_ref().map(|key| key.iter().filter_map(index).collect());
            let event_time = stream.watermark.as_ref().and_then(|watermark| {
                let delay_ms = watermark.delay_nanos.div_euclid(1_000_000)
                    + i64::from(watermark.delay_nanos % 1_000_000 != 0);
                Some(EventTime {
                    column: index(&watermark.column)?,
                    delay_ms: Some(delay_ms.saturating_add(self.lateness_ms)),
                    is_required: false,
                })
            });
            let place = self.sources.len();
            let (state, keys) = match &primary_key {
                Some(key) => (
                    StateBound::Unbounded(Holding::Keys),
                    vec![key.iter().map(|column| vec![*column]).collect()],
                ),
                None => (StateBound::None, Vec::<Vec<KeyPart>>::new()),
            };
            let is_table = primary_key.is_some();
            self.sources.push(SourceNode {
                stream: name,
                topic: stream.topic.clone(),
                format: stream.format.clone(),
                schema: Arc::clone(&schema),
                primary_key,
                event_time,
            });
            let node = self.push(Operator::Source(place), Vec::new(), schema, is_table, &keys, state);
            self.source_nodes.push(node);
        }
        Ok(())
    }

    fn find_columns(
        &self,
        plan: &LogicalPlan,
        used: &mut BTreeMap<String, BTreeSet<String>>,
    ) -> Result<(), SqlError> {
        if let LogicalPlan::TableScan(scan) = plan {
            let columns = used.entry(self.stream_of(scan)?.to_owned()).or_default();
            columns.extend(scan.projected_schema.fields().iter().map(|field| field.name().clone()));
        }
        plan.inputs().into_iter().try_for_each(|input| self.find_columns(input, used))
    }

    fn stream_of<'s>(&'s self, scan: &'s TableScan) -> Result<&'s str, SqlError> {
        // A dotted topic name written without quotes comes as schema and table.
        let full = scan.table_name.to_string();
        let found = self.catalog.names().find(|name| *name == full);
        found
            .or_else(|| self.catalog.get(scan.table_name.table()).map(|_| scan.table_name.table()))
            .ok_or_else(|| self.error(format!("there is no stream `{full}`")))
    }

    fn check_all_storable_if_table(&self, stream: &Stream, schema: &Schema) -> Result<(), SqlError> {
        if stream.primary_key.is_none() { Ok(()) } else { self.check_all_storable(schema, "a table") }
    }

    /// The rows of a source, with the columns that this scan uses.
    pub(super) fn scan(&mut self, scan: &TableScan) -> Result<Relation, SqlError> {
        let name = self.stream_of(scan)?.to_owned();
        if !scan.filters.is_empty() || scan.fetch.is_some() {
            return Err(self.error("a condition was moved into the stream, where it would be lost"));
        }
        let Some(place) = self.sources.iter().position(|source| source.stream == name) else {
            return Err(self.error(format!("there is no stream `{name}`")));
        };
        let source = &self.sources[place];
        let is_table = source.primary_key.is_some();
        let closes = |column: usize| match &source.event_time {
            // A table's rows come and go for other reasons than their time.
            Some(time) if time.column == column && !is_table => time.delay_ms.map(|_| ROWTIME_CLOSES_MS),
            _ => None,
        };
        let facts = |column: usize| ColumnFacts {
            closes_ms: closes(column),
            origin: Some((place, column)),
            window: None,
        };
        let all = source.schema.fields().len();
        let keys: Vec<Vec<KeyPart>> =
            source.primary_key.iter().map(|key| key.iter().map(|column| vec![*column]).collect()).collect();
        let whole = Relation {
            node: self.source_nodes[place],
            columns: (0..all).map(facts).collect(),
            keys,
            lost: None,
        };
        let wanted = arrow_schema(&scan.projected_schema);
        let places: Vec<usize> =
            wanted.fields().iter().filter_map(|field| source.schema.index_of(field.name()).ok()).collect();
        let is_whole =
            places.len() == all && places.iter().enumerate().all(|(place, column)| place == *column);
        // Without any column there would be nothing to know the rows by.
        if is_whole || places.is_empty() {
            return Ok(whole);
        }
        let expressions: Vec<Arc<dyn PhysicalExpr>> = places
            .iter()
            .map(|column| {
                Arc::new(Column::new(source.schema.field(*column).name(), *column)) as Arc<dyn PhysicalExpr>
            })
            .collect();
        let moved = |old: usize| places.iter().position(|from| *from == old).into_iter().collect();
        let keys: Vec<Vec<KeyPart>> =
            whole.keys.iter().filter_map(|key| crate::planner::facts::moved_key(key, moved)).collect();
        let lost = match (&source.primary_key, keys.is_empty()) {
            (Some(key), true) => key
                .iter()
                .find(|column| !places.contains(column))
                .map(|column| source.schema.field(*column).name().clone()),
            _ => None,
        };
        let columns = places.iter().map(|column| whole.columns[*column].clone()).collect();
        let operator = Operator::Project(expressions);
        let node = self.push(operator, vec![whole.node], wanted, is_table, &keys, StateBound::None);
        Ok(Relation { node, columns, keys, lost })
    }

    /// Notes that windows are made of a source's column, so that a row without it is a bad row.
    pub(super) fn require_time(&mut self, (place, column): SourceColumn) {
        let source = &mut self.sources[place];
        if source.primary_key.is_some() {
            return;
        }
        match &mut source.event_time {
            Some(time) if time.column == column => time.is_required = true,
            // The watermark is of another column; a row without this one is left out of the windows.
            Some(_) => {}
            None => {
                source.event_time = Some(EventTime { column, delay_ms: None, is_required: true });
            }
        }
    }

    /// Forgets watermarks that nothing in the plan waits for.
    pub(super) fn drop_idle_times(&mut self) {
        let waits = |node: &Node| match &node.operator {
            Operator::Join(join) => join.left_closing.is_some() || join.right_closing.is_some(),
            _ => node.state == StateBound::Watermark,
        };
        if self.nodes.iter().any(waits) {
            return;
        }
        for source in &mut self.sources {
            match &mut source.event_time {
                Some(time) if time.is_required => time.delay_ms = None,
                time => *time = None,
            }
        }
    }
}

/// The columns to decode: those that are used and the primary key. A query that uses none, as `COUNT(*)`, still needs one
/// to know the rows by: the first that may be null, so that no record is bad for the lack of a column that nobody asked
/// for.
fn decoded_schema(stream: &Stream, mut used: BTreeSet<String>) -> SchemaRef {
    used.extend(stream.primary_key.iter().flatten().cloned());
    if used.is_empty() {
        let fields = stream.schema.fields();
        let any = fields.iter().find(|field| field.is_nullable()).or(fields.first());
        used.extend(any.map(|field| field.name().clone()));
    }
    let fields: Vec<_> =
        stream.schema.fields().iter().filter(|field| used.contains(field.name())).cloned().collect();
    Arc::new(Schema::new(fields))
}
