//! What SQL has named: streams, tables, views and queries, and what may follow what. Pure.
//!
//! `decide_…` checks a statement and changes nothing, `apply_…` is the only mutator; recovery is `apply` of the statements
//! kept in their order.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::planner::{
    Catalog, QueryPlan, Stream, UserFunction, functions_called, is_builtin_function, plan_insert, plan_query,
    streams_read,
};
use crate::sql::{DropObject, Name, ObjectKind, QueryStatement, SqlError, Statement, nearest};

/// A statement that lasts, as it is kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Kept {
    /// The name of what it made.
    pub name: String,
    /// Its text.
    pub sql: String,
    /// The sha256 of a function's module, in hex: what its path holds may change.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub module: Option<String>,
}

/// Something that SQL has named.
#[derive(Debug, Clone)]
pub struct Object {
    /// What it is.
    pub kind: ObjectKind,
    /// The statement that made it.
    pub kept: Kept,
    /// The streams, tables and views that it reads, the functions that it calls and, for a query, what it writes.
    pub uses: Vec<String>,
    /// What can be read by its name.
    pub relation: Option<Stream>,
    /// What runs, and the topic that it writes.
    pub query: Option<(QueryPlan, Stream)>,
    /// What expressions may call.
    pub function: Option<Function>,
}

/// A function, and how much its module takes.
#[derive(Debug, Clone)]
pub struct Function {
    /// The function.
    pub function: UserFunction,
    /// The size of its module.
    pub module_bytes: usize,
}

/// All that SQL has named. Names are shared by all kinds.
#[derive(Debug, Default)]
pub struct Objects {
    objects: BTreeMap<String, Object>,
}

impl Objects {
    /// What queries may read.
    pub fn catalog(&self) -> Catalog {
        self.objects.iter().fold(Catalog::new(), |catalog, (name, object)| {
            match (&object.relation, &object.function) {
                (Some(stream), _) => catalog.with(name, stream.clone()),
                (_, Some(Function { function, .. })) => catalog.with_function(function.clone()),
                _ => catalog,
            }
        })
    }

    /// Objects of a kind, by name; views are queries too.
    pub fn of_kind(&self, kind: ObjectKind) -> impl Iterator<Item = &Object> {
        self.objects.values().filter(move |object| {
            object.kind == kind || (kind == ObjectKind::Query && object.kind == ObjectKind::View)
        })
    }

    /// What a `CREATE` or `INSERT` makes.
    ///
    /// # Errors
    /// When its name is taken, or its query cannot run.
    pub fn decide_create(&self, statement: &Statement, sql: &str) -> Result<Object, SqlError> {
        let catalog = self.catalog();
        let kept = |name: &str| Kept { name: name.to_owned(), sql: sql.to_owned(), module: None };
        match statement {
            Statement::CreateStream(create) => {
                let name = Name { text: create.name.clone(), position: create.position };
                self.check_free(&name)?;
                let mut declared = Catalog::new();
                declared.declare(create.clone())?;
                let is_table = create.primary_key.is_some();
                Ok(Object {
                    kind: if is_table { ObjectKind::Table } else { ObjectKind::Stream },
                    kept: kept(&create.name),
                    uses: Vec::new(),
                    relation: declared.get(&create.name).cloned(),
                    query: None,
                    function: None,
                })
            }
            Statement::CreateView(view) => {
                self.check_free(&view.name)?;
                let plan = plan_query(&view.query, &catalog)?;
                let topic = view.options.topic.clone().unwrap_or_else(|| view.name.text.clone());
                let format = view.options.format.clone().unwrap_or_else(|| "json".to_owned());
                let relation = Stream::of_result(&plan, topic, &format);
                Ok(Object {
                    kind: ObjectKind::View,
                    kept: kept(&view.name.text),
                    uses: self.used(&view.query),
                    relation: Some(relation.clone()),
                    query: Some((plan, relation)),
                    function: None,
                })
            }
            Statement::Insert(insert) => {
                let target = self.writable(&insert.target)?;
                let plan = plan_insert(&insert.query, &target, &insert.target, &catalog)?;
                let mut uses = self.used(&insert.query);
                uses.push(insert.target.text.clone());
                Ok(Object {
                    kind: ObjectKind::Query,
                    kept: kept(&self.free_query_name(&insert.target.text)),
                    uses,
                    relation: None,
                    query: Some((plan, target)),
                    function: None,
                })
            }
            other => unreachable!("{other:?} makes nothing"),
        }
    }

    /// What a `CREATE FUNCTION` makes, given the function of its module.
    ///
    /// # Errors
    /// When its name is taken.
    pub fn decide_function(
        &self,
        name: &Name,
        sql: &str,
        function: UserFunction,
        module_bytes: usize,
    ) -> Result<Object, SqlError> {
        self.check_free(name)?;
        if is_builtin_function(&name.text) {
            let error = SqlError::new(name.position, format!("the function `{}` is built in", name.text));
            return Err(error.with_help("take another name"));
        }
        let module = Some(function.module_sha256().to_owned());
        Ok(Object {
            kind: ObjectKind::Function,
            kept: Kept { name: name.text.clone(), sql: sql.to_owned(), module },
            uses: Vec::new(),
            relation: None,
            query: None,
            function: Some(Function { function, module_bytes }),
        })
    }

    /// What has this name.
    pub fn get(&self, name: &str) -> Option<&Object> {
        self.objects.get(name)
    }

    /// What cannot be without this.
    pub fn users_of(&self, name: &str) -> Vec<&str> {
        let users = self.objects.values().filter(|other| other.uses.iter().any(|used| used == name));
        users.map(|other| other.kept.name.as_str()).collect()
    }

    /// What a query reads and calls.
    fn used(&self, query: &QueryStatement) -> Vec<String> {
        let is_declared =
            |name: &String| self.objects.get(name).is_some_and(|object| object.function.is_some());
        let mut used = streams_read(query);
        used.extend(functions_called(query).into_iter().filter(is_declared));
        used
    }

    /// What a `DROP` takes away; nothing where nothing is and that is right.
    ///
    /// # Errors
    /// When there is no such object, it is of another kind, or others use it.
    pub fn decide_drop(&self, drop: &DropObject) -> Result<Option<&Object>, SqlError> {
        let (name, position) = (&drop.name.text, drop.name.position);
        let Some(object) = self.objects.get(name) else {
            if drop.if_exists {
                return Ok(None);
            }
            let error = SqlError::new(position, format!("there is no {} `{name}`", drop.kind.word()));
            return Err(error.with_nearest(name, self.objects.keys().map(String::as_str)));
        };
        if object.kind != drop.kind {
            let word = object.kind.word();
            return Err(SqlError::new(position, format!("`{name}` is a {word}"))
                .with_help(format!("write DROP {word} {name}")));
        }
        let users = self.users_of(name);
        match users.is_empty() {
            true => Ok(Some(object)),
            false => Err(SqlError::new(position, format!("`{name}` is used by {}", users.join(", ")))
                .with_help("drop what uses it first")),
        }
    }

    /// What runs under a name: the object that has the query, its plan and what it writes.
    pub fn query(&self, name: &Name) -> Result<(&Object, &(QueryPlan, Stream)), SqlError> {
        let found = self.objects.get(&name.text);
        if let Some(found) = found.and_then(|object| Some((object, object.query.as_ref()?))) {
            return Ok(found);
        }
        let names = self.objects.values().filter(|object| object.query.is_some());
        let names: Vec<&str> = names.map(|object| object.kept.name.as_str()).collect();
        let error = SqlError::new(name.position, format!("there is no query `{}`", name.text));
        Err(error.with_nearest(&name.text, names))
    }

    /// Takes in what [`Objects::decide_create`] has made.
    pub fn apply_create(&mut self, object: Object) {
        self.objects.insert(object.kept.name.clone(), object);
    }

    /// Forgets an object.
    pub fn apply_drop(&mut self, name: &str) -> Option<Object> {
        self.objects.remove(name)
    }

    fn check_free(&self, name: &Name) -> Result<(), SqlError> {
        match self.objects.get(&name.text) {
            None => Ok(()),
            Some(object) => {
                let word = object.kind.word();
                Err(SqlError::new(name.position, format!("there is a {word} `{}` already", name.text))
                    .with_help(format!("DROP {word} {} first, or take another name", name.text)))
            }
        }
    }

    fn writable(&self, target: &Name) -> Result<Stream, SqlError> {
        let Some(object) = self.objects.get(&target.text) else {
            let error =
                SqlError::new(target.position, format!("there is no stream or table `{}`", target.text))
                    .with_help("declare it with CREATE STREAM or CREATE TABLE");
            return Err(match nearest(&target.text, self.objects.keys().map(String::as_str)) {
                Some(right) => error.with_help(format!("did you mean `{right}`?")),
                None => error,
            });
        };
        match (&object.relation, object.kind) {
            (Some(relation), ObjectKind::Stream | ObjectKind::Table) => Ok(relation.clone()),
            _ => Err(SqlError::new(
                target.position,
                format!("`{}` is a {}, whose rows its own query writes", target.text, object.kind.word()),
            )
            .with_help("write into a stream or table")),
        }
    }

    fn free_query_name(&self, target: &str) -> String {
        let names = (1..).map(|number| format!("{target}.insert.{number}"));
        names.into_iter().find(|name| !self.objects.contains_key(name)).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sql::parse;

    /// Runs statements as the engine does, without the doing.
    fn run(objects: &mut Objects, sql: &str) -> Result<(), String> {
        for (statement, text) in parse(sql).unwrap().into_iter().zip(sql.split(';')) {
            let tell = |error: SqlError| format!("{}:{} {error}", error.position.line, error.position.column);
            match &statement {
                Statement::Drop(drop) => {
                    let name =
                        objects.decide_drop(drop).map_err(tell)?.map(|object| object.kept.name.clone());
                    name.map(|name| objects.apply_drop(&name));
                }
                create => {
                    let object = objects.decide_create(create, text).map_err(tell)?;
                    objects.apply_create(object);
                }
            }
        }
        Ok(())
    }

    const BASE: &str = "CREATE STREAM s (k STRING, v INT); CREATE TABLE t (k STRING PRIMARY KEY, n INT); \
         CREATE MATERIALIZED VIEW sums AS SELECT k, SUM(v) AS total FROM s GROUP BY k";

    fn base() -> Objects {
        let mut objects = Objects::default();
        run(&mut objects, BASE).unwrap();
        objects
    }

    #[test]
    fn a_view_is_a_table_of_its_key_to_other_views() {
        let mut objects = base();
        let view =
            "CREATE MATERIALIZED VIEW big AS SELECT t.k, t.n, sums.total FROM t JOIN sums ON t.k = sums.k";
        run(&mut objects, view).unwrap();
        assert_eq!(objects.catalog().get("sums").unwrap().primary_key, Some(vec!["k".to_owned()]));
        assert_eq!(objects.objects["big"].uses, ["t", "sums"]);
        assert_eq!(objects.of_kind(ObjectKind::Query).count(), 2);
    }

    #[test]
    fn what_is_used_stays() {
        let mut objects = base();
        let refused = run(&mut objects, "DROP STREAM s").unwrap_err();
        assert_eq!(refused, "1:13 `s` is used by sums; drop what uses it first");
        run(&mut objects, "DROP MATERIALIZED VIEW sums; DROP STREAM s").unwrap();
        assert_eq!(objects.catalog().names().collect::<Vec<_>>(), ["t"]);
    }

    #[test]
    fn wrong_names_and_kinds_are_told() {
        for (sql, expected) in [
            (
                "CREATE STREAM t (a INT)",
                "1:1 there is a TABLE `t` already; DROP TABLE t first, or take another name",
            ),
            ("DROP STREAM t", "1:13 `t` is a TABLE; write DROP TABLE t"),
            ("DROP VIEW sum", "1:11 there is no MATERIALIZED VIEW `sum`; did you mean `sums`?"),
            ("DROP VIEW IF EXISTS x; DROP STREAM x", "1:36 there is no STREAM `x`"),
            (
                "INSERT INTO sums SELECT k, n FROM t",
                "1:13 `sums` is a MATERIALIZED VIEW, whose rows its own query writes; write into a stream or table",
            ),
        ] {
            let refused = run(&mut base(), sql).unwrap_err();
            assert!(refused.starts_with(expected), "{sql}: {refused}");
        }
    }

    #[test]
    fn what_is_inserted_must_fit() {
        for (sql, expected) in [
            ("INSERT INTO s SELECT k, v + 1 FROM s", ""),
            ("INSERT INTO t SELECT k, COUNT(*) FROM s GROUP BY k", ""),
            ("INSERT INTO t SELECT k, v FROM s WHERE k IS NOT NULL", ""),
            ("INSERT INTO s SELECT k FROM s", "1:13 `s` has 2 columns (k, v), and the query gives 1"),
            (
                "INSERT INTO s SELECT k, COUNT(*) FROM s GROUP BY k",
                "1:13 rows of this query are replaced later, and the stream `s` only grows; group by windows and add EMIT FINAL, or write into a table with PRIMARY KEY (k)",
            ),
            (
                "INSERT INTO t SELECT upper(k), COUNT(*) FROM s GROUP BY k",
                "1:15 the column `k` is not in SELECT",
            ),
            (
                "CREATE TABLE w (a STRING PRIMARY KEY, b STRING); INSERT INTO w SELECT upper(k) AS a, k AS b \
                 FROM (SELECT k, COUNT(*) AS c FROM s GROUP BY k HAVING COUNT(*) > 1)",
                "`w` is keyed by a, and rows of this query are told apart by b",
            ),
        ] {
            let outcome = run(&mut base(), sql).err().unwrap_or_default();
            assert!(
                outcome.contains(expected) && outcome.is_empty() == expected.is_empty(),
                "{sql}: {outcome}"
            );
        }
    }

    /// The base with the function `same(int64) -> int64`.
    fn with_function() -> Objects {
        let mut objects = base();
        let component = include_bytes!("../../../plugins/tests/fixtures/scalar.wasm");
        let host = ottla_plugins::Host::new(None).unwrap();
        let plugin =
            ottla_plugins::ScalarPlugin::open(&host, "scalar", component, &Default::default()).unwrap();
        let function = UserFunction::new("same", plugin.sha256(), plugin.function("same").unwrap());
        let name = Name { text: "same".to_owned(), position: crate::sql::Position::START };
        let object = objects.decide_function(&name, "CREATE FUNCTION …", function.clone(), 1).unwrap();
        objects.apply_create(object);
        let again = objects.decide_function(&name, "CREATE FUNCTION …", function, 1).unwrap_err();
        assert!(again.to_string().starts_with("there is a FUNCTION `same` already"), "{again}");
        objects
    }

    #[test]
    fn a_function_stays_while_it_is_called() {
        let mut objects = with_function();
        run(&mut objects, "CREATE MATERIALIZED VIEW w AS SELECT k, SUM(Same(v)) AS n FROM s GROUP BY k")
            .unwrap();
        assert_eq!(objects.objects["w"].uses, ["s", "same"]);
        let refused = run(&mut objects, "DROP FUNCTION SAME").unwrap_err();
        assert_eq!(refused, "1:15 `same` is used by w; drop what uses it first");
        run(&mut objects, "DROP VIEW w; DROP FUNCTION same").unwrap();
        let refused =
            run(&mut objects, "CREATE MATERIALIZED VIEW w AS SELECT same(v) AS n FROM s").unwrap_err();
        assert!(refused.starts_with("1:38 there is no function `same`"), "{refused}");
    }

    #[test]
    fn arguments_of_other_types_are_cast_or_refused() {
        let mut objects = with_function();
        run(&mut objects, "CREATE MATERIALIZED VIEW a AS SELECT same(CAST(v AS SMALLINT)) AS n FROM s")
            .unwrap();
        for sql in ["SELECT same(v, v) AS n FROM s", "SELECT same(make_array(v)) AS n FROM s"] {
            let refused = run(&mut objects, &format!("CREATE MATERIALIZED VIEW b AS {sql}")).unwrap_err();
            assert!(refused.contains("same"), "{refused}");
        }
    }
}
