//! What is refused on the syntax tree, where the place of every word is still known.
//!
//! Two walks: names that nothing has (for every query), and what a stream cannot do yet (for streaming queries only).

use std::collections::BTreeSet;
use std::ops::ControlFlow;

use datafusion::logical_expr::Volatility;
use datafusion::sql::sqlparser::ast::{
    Distinct, Expr, Function, JoinOperator, ObjectName, Query, Select, SetExpr, SetOperator, Spanned,
    TableFactor, Visit, Visitor,
};

use super::context::PlanningContext;
use super::functions::Functions;
use crate::sql::{Position, QueryStatement, SqlError, TABLE_PREFIX};

/// Names that DataFusion does not list among its functions: window table functions, and what makes rows of lists.
const TABLE_FUNCTION_WORDS: [&str; 5] = ["tumble", "hop", "session", "descriptor", "unnest"];

/// The names of the tables a query reads, common table expressions left out, in order.
pub fn streams_read(query: &QueryStatement) -> Vec<String> {
    let mut names = TableNames::default();
    let _never_breaks = query.query.visit(&mut names);
    names.found.into_iter().map(|(name, _)| name).filter(|name| !names.expressions.contains(name)).collect()
}

/// The names of the functions a query calls, in lower case, in order.
pub fn functions_called(query: &QueryStatement) -> Vec<String> {
    let mut names = FunctionsCalled::default();
    let _never_breaks = query.query.visit(&mut names);
    names.found
}

#[derive(Default)]
struct FunctionsCalled {
    found: Vec<String>,
}

impl Visitor for FunctionsCalled {
    type Break = ();

    fn pre_visit_expr(&mut self, expr: &Expr) -> ControlFlow<()> {
        if let Expr::Function(Function { name, .. }) = expr {
            let name = function_name(name);
            if !self.found.contains(&name) {
                self.found.push(name);
            }
        }
        ControlFlow::Continue(())
    }
}

/// A function's name as it is looked up.
fn function_name(name: &ObjectName) -> String {
    let parts: Vec<&str> =
        name.0.iter().filter_map(|part| part.as_ident()).map(|part| part.value.as_str()).collect();
    parts.join(".").to_ascii_lowercase()
}

/// Finds functions and tables that do not exist.
pub(super) fn refuse_unknown_names(
    query: &QueryStatement,
    context: &PlanningContext,
) -> Result<(), SqlError> {
    let mut functions = FunctionNames { context, tables: 0 };
    if let ControlFlow::Break(error) = query.query.visit(&mut functions) {
        return Err(*error);
    }
    let mut names = TableNames::default();
    let _never_breaks = query.query.visit(&mut names);
    let known: BTreeSet<&str> = context.table_names().collect();
    for (name, position) in &names.found {
        if !known.contains(name.as_str()) && !names.expressions.contains(name) {
            let error = SqlError::new(*position, format!("there is no stream `{name}`"));
            let error = match known.is_empty() {
                true => error.with_help("no stream is declared here"),
                false => error
                    .with_help(format!("there are {}", known.iter().copied().collect::<Vec<_>>().join(", "))),
            };
            return Err(error.with_nearest(name, known));
        }
    }
    Ok(())
}

struct FunctionNames<'a> {
    context: &'a PlanningContext,
    /// How many tables the walk is inside of: `TABLE name` means something only there.
    tables: usize,
}

impl Visitor for FunctionNames<'_> {
    type Break = Box<SqlError>;

    fn pre_visit_table_factor(&mut self, _table: &TableFactor) -> ControlFlow<Self::Break> {
        self.tables += 1;
        ControlFlow::Continue(())
    }

    fn post_visit_table_factor(&mut self, _table: &TableFactor) -> ControlFlow<Self::Break> {
        self.tables -= 1;
        ControlFlow::Continue(())
    }

    fn pre_visit_expr(&mut self, expr: &Expr) -> ControlFlow<Self::Break> {
        if let Expr::Prefixed { prefix, .. } = expr
            && prefix.value == TABLE_PREFIX
            && self.tables == 0
        {
            let error = SqlError::new(prefix.span, format!("`{expr}` is no value"))
                .with_help("TABLE stands before a stream inside TUMBLE");
            return ControlFlow::Break(Box::new(error));
        }
        let Expr::Function(Function { name, .. }) = expr else { return ControlFlow::Continue(()) };
        let lower = function_name(name);
        if self.context.has_function(&lower) || TABLE_FUNCTION_WORDS.contains(&lower.as_str()) {
            return ControlFlow::Continue(());
        }
        let error = SqlError::new(name.span(), format!("there is no function `{name}`"))
            .with_nearest(&lower, self.context.function_names());
        ControlFlow::Break(Box::new(error))
    }
}

#[derive(Default)]
struct TableNames {
    found: Vec<(String, Position)>,
    expressions: BTreeSet<String>,
}

impl TableNames {
    fn add(&mut self, name: &ObjectName) {
        let parts: Vec<String> =
            name.0.iter().filter_map(|part| part.as_ident()).map(|part| part.value.clone()).collect();
        let found = (parts.join("."), name.span().into());
        if !self.found.iter().any(|(known, _)| known == &found.0) {
            self.found.push(found);
        }
    }
}

impl Visitor for TableNames {
    type Break = ();

    fn pre_visit_query(&mut self, query: &Query) -> ControlFlow<()> {
        for table in query.with.iter().flat_map(|with| &with.cte_tables) {
            self.expressions.insert(table.alias.name.value.clone());
        }
        ControlFlow::Continue(())
    }

    fn pre_visit_table_factor(&mut self, table: &TableFactor) -> ControlFlow<()> {
        if let TableFactor::Table { name, args: None, .. } = table {
            self.add(name);
        }
        ControlFlow::Continue(())
    }

    fn pre_visit_expr(&mut self, expr: &Expr) -> ControlFlow<()> {
        if let Expr::Prefixed { prefix, value } = expr
            && prefix.value == TABLE_PREFIX
        {
            // With PARTITION BY the name is the first of a tuple.
            let name = match value.as_ref() {
                Expr::Tuple(items) => items.first(),
                name => Some(name),
            };
            match name.unwrap_or(value) {
                Expr::Identifier(name) => self.add(&ObjectName::from(vec![name.clone()])),
                Expr::CompoundIdentifier(parts) => self.add(&ObjectName::from(parts.clone())),
                _ => {}
            }
        }
        ControlFlow::Continue(())
    }
}

/// Refuses what a streaming query cannot do yet.
pub(super) fn refuse_unsupported(query: &QueryStatement) -> Result<(), SqlError> {
    let mut walk = Unsupported;
    match query.query.visit(&mut walk) {
        ControlFlow::Break(error) => Err(*error),
        ControlFlow::Continue(()) => Ok(()),
    }
}

struct Unsupported;

type Walk = ControlFlow<Box<SqlError>>;

fn refuse(at: impl Into<Position>, what: &str, help: &str) -> Walk {
    ControlFlow::Break(Box::new(
        SqlError::new(at, format!("{what} cannot run on a stream yet")).with_help(help),
    ))
}

impl Visitor for Unsupported {
    type Break = Box<SqlError>;

    fn pre_visit_query(&mut self, query: &Query) -> Walk {
        if let Some(order_by) = &query.order_by {
            return refuse(
                order_by.span(),
                "ORDER BY",
                "a topic has its own order; sort where the result is read",
            );
        }
        if let Some(limit) = &query.limit_clause {
            return refuse(limit.span(), "LIMIT", "a stream does not end; limit where the result is read");
        }
        if let Some(fetch) = &query.fetch {
            return refuse(
                fetch.span(),
                "FETCH FIRST",
                "a stream does not end; limit where the result is read",
            );
        }
        if let Some(with) = query.with.as_ref().filter(|with| with.recursive) {
            return refuse(with.span(), "WITH RECURSIVE", "write it without recursion");
        }
        match query.body.as_ref() {
            SetExpr::Select(_) | SetExpr::Query(_) => ControlFlow::Continue(()),
            SetExpr::SetOperation { op: SetOperator::Union, .. } => ControlFlow::Continue(()),
            SetExpr::SetOperation { op, left, .. } => {
                refuse(left.span(), &format!("{op}"), "join on all columns instead")
            }
            other => refuse(other.span(), "this statement", "write a SELECT"),
        }
    }

    fn pre_visit_select(&mut self, select: &Select) -> Walk {
        if select.from.is_empty() {
            return refuse(select.span(), "a SELECT without FROM", "name the stream to read");
        }
        for join in select.from.iter().flat_map(|from| &from.joins) {
            match join.join_operator {
                JoinOperator::Join(_)
                | JoinOperator::Inner(_)
                | JoinOperator::CrossJoin(_)
                | JoinOperator::Left(_)
                | JoinOperator::LeftOuter(_) => {}
                _ => {
                    let help = "there are INNER and LEFT joins; for RIGHT turn the sides round";
                    return refuse(join.span(), "this kind of join", help);
                }
            }
        }
        if let Some(qualify) = &select.qualify {
            return refuse(qualify.span(), "QUALIFY", "filter with WHERE or HAVING");
        }
        if let Some(Distinct::On(exprs)) = &select.distinct {
            let at = exprs.first().map_or_else(|| select.span(), Spanned::span);
            return refuse(at, "DISTINCT ON", "use GROUP BY with MIN or MAX");
        }
        ControlFlow::Continue(())
    }

    fn pre_visit_table_factor(&mut self, table: &TableFactor) -> Walk {
        match table {
            TableFactor::Table { .. }
            | TableFactor::TableFunction { .. }
            | TableFactor::Derived { .. }
            | TableFactor::NestedJoin { .. }
            | TableFactor::UNNEST { .. } => ControlFlow::Continue(()),
            other => refuse(other.span(), "this kind of table", "read a stream, TUMBLE or a subquery"),
        }
    }

    fn pre_visit_expr(&mut self, expr: &Expr) -> Walk {
        match expr {
            Expr::Function(function) => refuse_function(function),
            Expr::Subquery(_) | Expr::Exists { .. } | Expr::InSubquery { .. } => {
                refuse(expr.span(), "a subquery inside an expression", "join with the subquery instead")
            }
            Expr::GroupingSets(_) | Expr::Cube(_) | Expr::Rollup(_) => refuse(
                expr.span(),
                "GROUPING SETS, CUBE and ROLLUP",
                "write one query for each set of groups",
            ),
            _ => ControlFlow::Continue(()),
        }
    }
}

fn refuse_function(function: &Function) -> Walk {
    if function.over.is_some() && !function.name.to_string().eq_ignore_ascii_case("row_number") {
        let help =
            "there is ROW_NUMBER() OVER (PARTITION BY … ORDER BY …), of which the first numbers are kept";
        return refuse(function.name.span(), "this window function (OVER)", help);
    }
    let lower = function.name.to_string().to_ascii_lowercase();
    let functions = Functions::builtin();
    if let Some(scalar) = functions.scalar.get(&lower)
        && scalar.signature().volatility != Volatility::Immutable
    {
        let what = format!("`{}`, which answers differently each time it is asked,", function.name);
        return refuse(
            function.name.span(),
            &what,
            "a restarted query must give the same answer; use a column of the stream",
        );
    }
    ControlFlow::Continue(())
}
