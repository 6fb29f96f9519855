//! A plan as text: what `EXPLAIN` shows, and what the goldens of the tests are.

use std::fmt;

use arrow::datatypes::SchemaRef;

use super::plan::{
    AggregateNode, ChangelogMode, Closing, Holding, JoinNode, Node, Operator, QueryPlan, SortKey, StateBound,
    TopNNode,
};
use crate::sql::Emit;

impl fmt::Display for ChangelogMode {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            ChangelogMode::Append => "append",
            ChangelogMode::Upsert => "upsert",
            ChangelogMode::Retract => "retract",
        })
    }
}

impl fmt::Display for StateBound {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            StateBound::None => "none",
            StateBound::Unbounded(Holding::Keys) => "one row per key of the table",
            StateBound::Unbounded(Holding::Groups) => "one row per group, unbounded",
            StateBound::Unbounded(Holding::BothSides) => "all rows of both sides, unbounded",
            StateBound::Unbounded(Holding::Partitions) => "the first rows of each partition, unbounded",
            StateBound::Unbounded(Holding::Rows) => "all rows, unbounded",
            StateBound::Watermark => "bounded by the watermark",
        })
    }
}

impl fmt::Display for QueryPlan {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let key = names(&self.output_schema, &self.upsert_key);
        writeln!(formatter, "Output {} key=[{key}] columns=[{}]", self.mode, columns(&self.output_schema))?;
        let mut stack = vec![(self.nodes.len().saturating_sub(1), 1)];
        while let Some((place, depth)) = stack.pop() {
            let Some(node) = self.nodes.get(place) else { continue };
            let indent = "  ".repeat(depth);
            write!(formatter, "{indent}")?;
            self.write_operator(formatter, node)?;
            write!(formatter, " | {}", node.mode)?;
            if let Some(key) = &node.key {
                write!(formatter, " key=[{}]", names(&node.schema, key))?;
            }
            if node.state != StateBound::None {
                write!(formatter, " state: {}", node.state)?;
            }
            writeln!(formatter)?;
            stack.extend(node.inputs.iter().rev().map(|input| (*input, depth + 1)));
        }
        Ok(())
    }
}

impl QueryPlan {
    fn write_operator(&self, formatter: &mut fmt::Formatter<'_>, node: &Node) -> fmt::Result {
        match &node.operator {
            Operator::Source(place) => self.write_source(formatter, *place),
            Operator::Filter(predicate) => write!(formatter, "Filter {predicate}"),
            Operator::Project(expressions) => {
                let item = |(expression, field): (&std::sync::Arc<_>, &arrow::datatypes::FieldRef)| {
                    format!("{expression} AS {}", field.name())
                };
                let items: Vec<String> = expressions.iter().zip(node.schema.fields()).map(item).collect();
                write!(formatter, "Project [{}]", items.join(", "))
            }
            Operator::Union => write!(formatter, "Union"),
            Operator::Unnest(unnest) => {
                let input = node.inputs.first().and_then(|input| self.nodes.get(*input));
                let lists = input.map_or_else(String::new, |input| names(&input.schema, &unnest.lists));
                write!(formatter, "Unnest [{lists}]")
            }
            Operator::Session(session) => write!(
                formatter,
                "Session time={} partition=[{}] gap={}ms",
                node.schema.field(session.time).name(),
                names(&node.schema, &session.partition),
                session.to_ms(session.gap)
            ),
            Operator::Aggregate(aggregate) => write_aggregate(formatter, aggregate),
            Operator::Join(join) => write_join(formatter, join),
            Operator::TopN(top) => write_top_n(formatter, top),
        }
    }

    fn write_source(&self, formatter: &mut fmt::Formatter<'_>, place: usize) -> fmt::Result {
        let Some(source) = self.sources.get(place) else { return Ok(()) };
        let word = if source.primary_key.is_some() { "Table" } else { "Stream" };
        write!(formatter, "{word} {} topic={} format={}", source.stream, source.topic, source.format)?;
        write!(formatter, " columns=[{}]", columns(&source.schema))?;
        if let Some(time) = &source.event_time {
            write!(formatter, " event_time={}", source.schema.field(time.column).name())?;
            match time.delay_ms {
                Some(delay) => write!(formatter, " watermark_delay={delay}ms")?,
                None => write!(formatter, " watermark=none")?,
            }
        }
        Ok(())
    }
}

fn write_aggregate(formatter: &mut fmt::Formatter<'_>, aggregate: &AggregateNode) -> fmt::Result {
    let groups: Vec<String> = aggregate.group.iter().map(ToString::to_string).collect();
    let calls: Vec<String> =
        aggregate.calls.iter().map(|call| format!("{} ({:?})", call.name, call.kind)).collect();
    write!(formatter, "Aggregate group=[{}] aggregates=[{}]", groups.join(", "), calls.join(", "))?;
    if let Some(closing) = aggregate.closing {
        write_closing(formatter, "closes", &aggregate.group_schema, closing)?;
    }
    match aggregate.emit {
        Emit::Changes => write!(formatter, " emit=changes"),
        Emit::Final => write!(formatter, " emit=final"),
    }
}

fn write_join(formatter: &mut fmt::Formatter<'_>, join: &JoinNode) -> fmt::Result {
    let on: Vec<String> = join.on.iter().map(|(left, right)| format!("{left} = {right}")).collect();
    write!(formatter, "{} on=[{}]", if join.is_left { "LeftJoin" } else { "Join" }, on.join(", "))?;
    if let Some(filter) = &join.filter {
        write!(formatter, " filter={filter}")?;
    }
    if let Some(closing) = join.left_closing {
        write_closing(formatter, "left_closes", &join.left_schema, closing)?;
    }
    if let Some(closing) = join.right_closing {
        write_closing(formatter, "right_closes", &join.right_schema, closing)?;
    }
    Ok(())
}

fn write_top_n(formatter: &mut fmt::Formatter<'_>, top: &TopNNode) -> fmt::Result {
    let partition: Vec<String> = top.partition.iter().map(ToString::to_string).collect();
    let order: Vec<String> = top.order.iter().map(sort_key).collect();
    write!(formatter, "TopN {} partition=[{}] order=[{}]", top.limit, partition.join(", "), order.join(", "))
}

fn sort_key(key: &SortKey) -> String {
    let direction = if key.options.descending { "DESC" } else { "ASC" };
    let nulls = if key.options.nulls_first { "NULLS FIRST" } else { "NULLS LAST" };
    format!("{} {direction} {nulls}", key.expression)
}

fn write_closing(
    formatter: &mut fmt::Formatter<'_>,
    word: &str,
    schema: &SchemaRef,
    closing: Closing,
) -> fmt::Result {
    write!(formatter, " {word}={}", schema.field(closing.column).name())?;
    match closing.after_ms {
        0 => Ok(()),
        after => write!(formatter, "{after:+}ms"),
    }
}

fn names(schema: &SchemaRef, indices: &[usize]) -> String {
    let names: Vec<&str> = indices.iter().map(|index| schema.field(*index).name().as_str()).collect();
    names.join(", ")
}

fn columns(schema: &SchemaRef) -> String {
    let word = |field: &arrow::datatypes::FieldRef| {
        format!("{} {}", field.name(), ottla_formats::type_word(field.data_type(), field.is_nullable()))
    };
    schema.fields().iter().map(word).collect::<Vec<_>>().join(", ")
}
