//! Kafka Connect's single message transforms, by its class names, over whole batches: pure, apart from what plugins do
//! inside their walls.
//!
//! A transform changes columns; a value that it cannot change makes its record a bad one, and the others go on. What depends
//! on the topic's name alone (predicates, routes) is decided once, when the properties are read, since a task has one topic.
//! What depends on a record's headers, or on whether it has a value, is done to the record when its value has been read and
//! before its columns are changed. Plugins are given records as the topic has them, many at a time.
//!
//! | class (`org.apache.kafka.connect.transforms.…`) | file |
//! |---|---|
//! | `Cast$Value`, `ReplaceField$Value`, `MaskField$Value`, `InsertField$Value` | `columns.rs` |
//! | `HeaderFrom$Value` | `headers.rs` |
//! | `TimestampConverter$Value` | `times.rs` |
//! | `Flatten$Value`, `HoistField$Value`, `ExtractField$Value` | `nested.rs` |
//! | `Filter`, `InsertHeader`, `DropHeaders`, `predicates.RecordIsTombstone`, `predicates.HasHeaderKey` | `records.rs` |
//! | which there are, with their properties | `plugins.rs` |
//! | `Wasm` (of no package) | `wasm.rs` |
//! | `RegexRouter`, `ValueToKey`, `ExtractField$Key`, `predicates.TopicNameMatches` | `properties.rs` |

mod columns;
mod headers;
mod nested;
mod plugins;
mod properties;
mod records;
mod times;
mod wasm;

use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use columns::Change;
use ottla_client::Header;
use records::Step;
use wasm::Call;

use crate::error::ConnectorError;
use crate::plugins::InstalledPlugins;

pub(crate) use plugins::{PLUGINS, Plugin, Property, plugin};
pub(crate) use properties::{is_transform_property, plugins_named, read};
pub(crate) use wasm::{Calls, Passed};

/// Where Kafka Connect has its transforms.
pub(crate) const PACKAGE: &str = "org.apache.kafka.connect.transforms.";
/// The class that calls a plugin. Kafka Connect has none such.
pub(crate) const WASM: &str = "Wasm";

/// What is done to the records of a task, in order.
#[derive(Debug, Clone, Default)]
pub struct Transforms {
    changes: Arc<[Named]>,
    /// Each with the steps before it.
    calls: Arc<[Call]>,
    /// After the calls.
    steps: Arc<[Step]>,
}

#[derive(Debug)]
struct Named {
    /// As `transforms` names it.
    name: String,
    change: Change,
}

/// What properties say besides the changes.
#[derive(Debug, Clone, Default)]
pub(crate) struct Routes {
    pub transforms: Transforms,
    /// Where the records of a source go instead.
    pub topic: Option<String>,
    /// The column that is the key.
    pub key: Option<String>,
    /// A transform of columns or keys before one that calls a plugin, and one after: either is too late or too early.
    pub before_call: Option<String>,
    pub after_call: Option<String>,
}

/// Where the records of a batch were read, by row; a partition alone for all of them.
#[derive(Debug, Clone, Default)]
pub(crate) struct Places {
    pub partition: Option<i32>,
    pub offsets: Vec<i64>,
    pub timestamps_ms: Vec<i64>,
}

/// A batch after the transforms.
#[derive(Debug)]
pub(crate) struct Transformed {
    pub batch: RecordBatch,
    /// For each row that is left, its row before; growing.
    pub rows: Vec<usize>,
    /// Rows before that could not be changed, with the reason; growing.
    pub bad: Vec<(usize, String)>,
    /// For each row that is left, the headers that columns became; empty when none did.
    pub headers: Vec<Vec<Header>>,
}

impl Transforms {
    /// Whether columns stay as they are.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.changes.is_empty()
    }

    /// Whether records may be left out or get other headers.
    pub(crate) fn has_steps(&self) -> bool {
        !self.steps.is_empty()
    }

    /// Opens the plugins that records go through.
    ///
    /// # Errors
    /// As [`Calls::open`].
    pub(crate) async fn open_calls(&self, plugins: &dyn InstalledPlugins) -> Result<Calls, ConnectorError> {
        Calls::open(&self.calls, plugins).await
    }

    /// Changes a record's headers; false when it is to be left out.
    pub(crate) fn pass(&self, has_value: bool, headers: &mut Vec<Header>) -> bool {
        records::pass(&self.steps, has_value, headers)
    }

    /// Changes a batch.
    ///
    /// # Errors
    /// When the columns are not such as the transforms need, whatever the rows are.
    pub(crate) fn apply(&self, batch: RecordBatch) -> Result<Transformed, String> {
        self.apply_at(batch, &Places::default())
    }

    /// Whether columns become headers.
    pub(crate) fn gives_headers(&self) -> bool {
        self.changes.iter().any(|named| matches!(named.change, Change::HeaderFrom(_)))
    }

    /// Whether columns are made of where records were read.
    pub(crate) fn needs_places(&self) -> bool {
        self.changes.iter().any(|named| matches!(named.change, Change::InsertPlace(_)))
    }

    /// As [`apply`](Transforms::apply), for rows of which it is known where they were read.
    pub(crate) fn apply_at(&self, batch: RecordBatch, places: &Places) -> Result<Transformed, String> {
        let rows = (0..batch.num_rows()).collect();
        let mut done = Transformed { rows, batch, bad: Vec::new(), headers: Vec::new() };
        for Named { name, change } in &*self.changes {
            let wrong = |why: String| format!("transforms.{name}: {why}");
            if let Change::HeaderFrom(from) = change {
                let added = from.headers(&done.batch).map_err(wrong)?;
                done.headers.resize(added.len(), Vec::new());
                done.headers.iter_mut().zip(added).for_each(|(headers, added)| headers.extend(added));
            }
            let changed = change.apply(&done.batch, places, &done.rows);
            let (batch, refused) = changed.map_err(wrong)?;
            done.batch = batch;
            let place = |row: usize| done.rows.get(row).copied().unwrap_or(usize::MAX);
            let is_good = |row: usize| refused.binary_search_by_key(&row, |(bad, _)| *bad).is_err();
            done.bad.extend(refused.iter().map(|(row, why)| (place(*row), wrong(why.clone()))));
            let rows = done.rows.iter().enumerate().filter(|(row, _)| is_good(*row));
            done.rows = rows.map(|(_, before)| *before).collect();
            let mut row = 0..;
            done.headers.retain(|_| row.next().is_some_and(is_good));
        }
        done.bad.sort();
        Ok(done)
    }

    /// The columns that records of these columns have afterwards.
    ///
    /// # Errors
    /// As [`apply`](Transforms::apply).
    pub(crate) fn schema(&self, before: &SchemaRef) -> Result<SchemaRef, String> {
        let empty = RecordBatch::new_empty(Arc::clone(before));
        Ok(self.apply(empty)?.batch.schema())
    }
}

/// One transform of this name that calls a plugin which is made of this fixture.
#[cfg(test)]
pub(crate) async fn call_of(name: &str, fixture: &str) -> Calls {
    let properties = [
        ("transforms".to_owned(), name.to_owned()),
        (format!("transforms.{name}.type"), WASM.to_owned()),
        (format!("transforms.{name}.plugin"), fixture.to_owned()),
    ];
    let (routes, errors) = read(&properties.into(), "t");
    assert_eq!(errors, []);
    let plugins = crate::plugins::tests::MemoryPlugins::new([(fixture, fixture)]);
    routes.transforms.open_calls(&*plugins).await.unwrap()
}

#[cfg(test)]
mod tests {
    use super::*;
    use ottla_formats::{Format as _, JsonFormat, schema_of};
    use std::collections::BTreeMap;

    fn routes(pairs: &[(&str, &str)]) -> Routes {
        let properties: BTreeMap<String, String> =
            pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        let (routes, errors) = read(&properties, "orders");
        assert!(errors.is_empty(), "{errors:?}");
        routes
    }

    fn batch(rows: &[&str]) -> RecordBatch {
        let schema = schema_of([("id", "int"), ("name", "string?"), ("price", "string?")]).unwrap();
        let payloads: Vec<&[u8]> = rows.iter().map(|row| row.as_bytes()).collect();
        JsonFormat.decode(&payloads, &schema).unwrap().batch
    }

    fn lines(batch: &RecordBatch) -> Vec<String> {
        let values = JsonFormat.encode(batch).unwrap();
        values.iter().map(|value| String::from_utf8(value.to_vec()).unwrap()).collect()
    }

    #[test]
    fn columns_are_cast_renamed_masked_and_added_in_order() {
        let routes = routes(&[
            ("transforms", "cast,fields,mask,add"),
            ("transforms.cast.type", "org.apache.kafka.connect.transforms.Cast$Value"),
            ("transforms.cast.spec", "id:string,price:float64"),
            ("transforms.fields.type", "org.apache.kafka.connect.transforms.ReplaceField$Value"),
            ("transforms.fields.renames", "price:cost"),
            ("transforms.mask.type", "org.apache.kafka.connect.transforms.MaskField$Value"),
            ("transforms.mask.fields", "name"),
            ("transforms.add.type", "org.apache.kafka.connect.transforms.InsertField$Value"),
            ("transforms.add.static.field", "shop"),
            ("transforms.add.static.value", "north"),
            ("transforms.add.topic.field", "from"),
        ]);
        let rows = [
            r#"{"id":1,"name":"ann","price":"2.5"}"#,
            r#"{"id":2,"name":"bob","price":"much"}"#,
            r#"{"id":3,"name":null,"price":null}"#,
        ];
        let done = routes.transforms.apply(batch(&rows)).unwrap();
        assert_eq!(
            lines(&done.batch),
            [
                r#"{"id":"1","name":"","cost":2.5,"shop":"north","from":"orders"}"#,
                r#"{"id":"3","name":null,"cost":null,"shop":"north","from":"orders"}"#,
            ]
        );
        assert_eq!(done.rows, [0, 2]);
        let reason = "transforms.cast: column 'price': \"much\" is no Float64";
        assert_eq!(done.bad, [(1, reason.to_owned())]);
        let schema = routes.transforms.schema(&batch(&[]).schema()).unwrap();
        assert_eq!(schema, done.batch.schema());
    }

    #[test]
    fn columns_are_kept_or_left_out() {
        let fields = |what: &str, names: &str| {
            let class = "org.apache.kafka.connect.transforms.ReplaceField$Value";
            let property = format!("transforms.f.{what}");
            let pairs = [("transforms", "f"), ("transforms.f.type", class), (&*property, names)];
            let done = routes(&pairs).transforms.apply(batch(&[r#"{"id":1,"name":"a"}"#])).unwrap();
            lines(&done.batch).concat()
        };
        assert_eq!(fields("include", "name, id"), r#"{"id":1,"name":"a"}"#);
        assert_eq!(fields("exclude", "name"), r#"{"id":1,"price":null}"#);
    }

    #[test]
    fn a_column_that_is_not_there_is_an_error_with_those_that_are() {
        let cast = routes(&[
            ("transforms", "c"),
            ("transforms.c.type", "org.apache.kafka.connect.transforms.Cast$Value"),
            ("transforms.c.spec", "idd:string"),
        ]);
        let error = cast.transforms.apply(batch(&[])).unwrap_err();
        assert_eq!(error, "transforms.c: there is no column 'idd'; there are: id, name, price");
    }

    #[test]
    fn routes_and_predicates_are_decided_by_the_topics_name() {
        let router = "org.apache.kafka.connect.transforms.RegexRouter";
        let matches = "org.apache.kafka.connect.transforms.predicates.TopicNameMatches";
        let with = |pattern: &str, negate: &str| {
            routes(&[
                ("transforms", "r"),
                ("transforms.r.type", router),
                ("transforms.r.regex", "(.*)s"),
                ("transforms.r.replacement", "shop-$1"),
                ("transforms.r.predicate", "p"),
                ("transforms.r.negate", negate),
                ("predicates", "p"),
                ("predicates.p.type", matches),
                ("predicates.p.pattern", pattern),
            ])
            .topic
        };
        assert_eq!(with("ord.*", "false").as_deref(), Some("shop-order"));
        assert_eq!(with("ord", "false"), None, "the whole name must match");
        assert_eq!(with("ord", "true").as_deref(), Some("shop-order"));
        let key = routes(&[
            ("transforms", "k,x"),
            ("transforms.k.type", "org.apache.kafka.connect.transforms.ValueToKey"),
            ("transforms.k.fields", "id"),
            ("transforms.x.type", "org.apache.kafka.connect.transforms.ExtractField$Key"),
            ("transforms.x.field", "id"),
        ]);
        assert_eq!(key.key.as_deref(), Some("id"));
    }

    #[test]
    fn every_property_that_is_wrong_is_told() {
        let properties: BTreeMap<String, String> = [
            ("transforms", "a,b,c,d,a"),
            ("transforms.a.type", "org.apache.kafka.connect.transforms.Cast$Value"),
            ("transforms.a.spec", "id:text"),
            ("transforms.b.type", "org.example.Mine"),
            ("transforms.c.type", "org.apache.kafka.connect.transforms.RegexRouter"),
            ("transforms.c.regex", "("),
            ("transforms.c.replacement", "x"),
            ("transforms.c.predicate", "p"),
            ("transforms.e.type", "x"),
        ]
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .into();
        let (_, errors) = read(&properties, "t");
        let told: Vec<String> = errors.iter().map(ToString::to_string).collect();
        for beginning in [
            "transforms: a is named twice",
            "transforms.a.spec: text is no type",
            "transforms.b.type: org.example.Mine",
            "transforms.c.regex: ",
            "transforms.c.predicate: there is no predicate p",
            "transforms.d.type: is missing",
            "transforms.e.type: transforms does not name e",
        ] {
            assert!(told.iter().any(|message| message.starts_with(beginning)), "{beginning}: {told:#?}");
        }
    }

    #[test]
    fn times_are_converted_and_the_whole_is_hoisted_and_flattened() {
        let class = |name: &str| format!("org.apache.kafka.connect.transforms.{name}");
        let routes = routes(&[
            ("transforms", "time,hoist,flat"),
            ("transforms.time.type", &class("TimestampConverter$Value")),
            ("transforms.time.field", "name"),
            ("transforms.time.format", "yyyy-MM-dd"),
            ("transforms.time.target.type", "unix"),
            ("transforms.time.unix.precision", "seconds"),
            ("transforms.hoist.type", &class("HoistField$Value")),
            ("transforms.hoist.field", "order"),
            ("transforms.flat.type", &class("Flatten$Value")),
            ("transforms.flat.delimiter", "_"),
        ]);
        let rows =
            [r#"{"id":1,"name":"1970-01-02"}"#, r#"{"id":2,"name":"soon"}"#, r#"{"id":3,"name":null}"#];
        let done = routes.transforms.apply(batch(&rows)).unwrap();
        assert_eq!(
            lines(&done.batch),
            [
                r#"{"order_id":1,"order_name":86400,"order_price":null}"#,
                r#"{"order_id":3,"order_name":null,"order_price":null}"#,
            ]
        );
        let reason = "transforms.time: column 'name': \"soon\" is no time of this format";
        assert_eq!(done.bad, [(1, reason.to_owned())]);
        assert_eq!(routes.transforms.schema(&batch(&[]).schema()).unwrap(), done.batch.schema());
    }

    #[test]
    fn columns_become_headers_of_the_rows_that_are_left() {
        let class = |name: &str| format!("org.apache.kafka.connect.transforms.{name}");
        let routes = routes(&[
            ("transforms", "head,cast,again"),
            ("transforms.head.type", &class("HeaderFrom$Value")),
            ("transforms.head.fields", "id,name"),
            ("transforms.head.headers", "number,who"),
            ("transforms.head.operation", "move"),
            ("transforms.cast.type", &class("Cast$Value")),
            ("transforms.cast.spec", "price:float64"),
            ("transforms.again.type", &class("HeaderFrom$Value")),
            ("transforms.again.fields", "price"),
            ("transforms.again.headers", "price"),
            ("transforms.again.operation", "copy"),
        ]);
        assert!(routes.transforms.gives_headers());
        let rows = [
            r#"{"id":1,"name":"ann","price":"much"}"#,
            r#"{"id":2,"name":null,"price":"2.5"}"#,
            r#"{"id":3,"name":"cy","price":"1"}"#,
        ];
        let done = routes.transforms.apply(batch(&rows)).unwrap();
        assert_eq!(lines(&done.batch), [r#"{"price":2.5}"#, r#"{"price":1.0}"#]);
        let none = Header { key: "who".into(), value: None };
        assert_eq!(
            done.headers,
            [
                vec![records::header("number", "2"), none, records::header("price", "2.5")],
                vec![
                    records::header("number", "3"),
                    records::header("who", "cy"),
                    records::header("price", "1.0")
                ],
            ]
        );
    }

    #[test]
    fn records_are_left_out_by_predicates_and_get_headers() {
        let class = |name: &str| format!("org.apache.kafka.connect.transforms.{name}");
        let routes = routes(&[
            ("transforms", "mark,filter,gone"),
            ("transforms.mark.type", &class("InsertHeader")),
            ("transforms.mark.header", "by"),
            ("transforms.mark.value.literal", "ottla"),
            ("transforms.filter.type", &class("Filter")),
            ("transforms.filter.predicate", "marked"),
            ("transforms.filter.negate", "true"),
            ("transforms.gone.type", &class("Filter")),
            ("transforms.gone.predicate", "gone"),
            ("predicates", "marked,gone"),
            ("predicates.marked.type", &class("predicates.HasHeaderKey")),
            ("predicates.marked.name", "keep"),
            ("predicates.gone.type", &class("predicates.RecordIsTombstone")),
        ]);
        assert!(routes.transforms.is_empty() && routes.transforms.has_steps());
        let keep = records::header("keep", "1");
        let mut headers = vec![keep.clone()];
        assert!(routes.transforms.pass(true, &mut headers));
        assert_eq!(headers, [keep.clone(), records::header("by", "ottla")]);
        assert!(!routes.transforms.pass(true, &mut Vec::new()));
        assert!(!routes.transforms.pass(false, &mut vec![keep]));
    }

    #[test]
    fn what_is_wrong_with_a_transform_is_told_by_its_property() {
        let class = |name: &str| format!("org.apache.kafka.connect.transforms.{name}");
        let properties: BTreeMap<String, String> = [
            ("transforms", "time,head,mask,pattern,other,from"),
            ("transforms.from.type", &class("HeaderFrom$Value")),
            ("transforms.from.fields", "a,b"),
            ("transforms.from.headers", "x"),
            ("transforms.from.operation", "swap"),
            ("transforms.time.type", &class("TimestampConverter$Value")),
            ("transforms.time.field", "at"),
            ("transforms.time.target.type", "Time"),
            ("transforms.head.type", &class("InsertHeader")),
            ("transforms.head.header", "h"),
            ("transforms.mask.type", &class("MaskField$Value")),
            ("transforms.mask.fields", "a"),
            ("transforms.mask.predicate", "has"),
            ("transforms.pattern.type", &class("TimestampConverter$Value")),
            ("transforms.pattern.field", "at"),
            ("transforms.pattern.target.type", "string"),
            ("transforms.pattern.format", "yyyy-ww"),
            ("transforms.other.type", &class("SetSchemaMetadata$Value")),
            ("predicates", "has"),
            ("predicates.has.type", &class("predicates.HasHeaderKey")),
            ("predicates.has.name", "h"),
        ]
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .into();
        let (_, errors) = read(&properties, "orders");
        let errors: Vec<String> = errors.iter().map(ToString::to_string).collect();
        for beginning in [
            "transforms.time.target.type: Time is not known here",
            "transforms.head.value.literal: is missing",
            "transforms.mask.predicate: HasHeaderKey is for Filter",
            "transforms.pattern.format: ww is no part",
            "transforms.other.type: SetSchemaMetadata$Value is not known here; there are, in",
            "transforms.from.headers: 1 names for 2 columns",
            "transforms.from.operation: swap is neither move nor copy",
        ] {
            assert!(errors.iter().any(|error| error.starts_with(beginning)), "{beginning}: {errors:#?}");
        }
        assert_eq!(errors.len(), 7, "{errors:#?}");
    }

    #[test]
    fn plugins_are_named_by_their_property_and_stand_before_or_after_columns() {
        let class = |name: &str| format!("org.apache.kafka.connect.transforms.{name}");
        let properties: BTreeMap<String, String> = [
            ("transforms", "cast,decode,never,route,mask"),
            ("transforms.cast.type", &*class("Cast$Value")),
            ("transforms.cast.spec", "id:string"),
            ("transforms.decode.type", "Wasm"),
            ("transforms.decode.plugin", " decode "),
            ("transforms.decode.config.key", "value"),
            ("transforms.never.type", "Wasm"),
            ("transforms.never.plugin", "other"),
            ("transforms.never.predicate", "elsewhere"),
            ("transforms.route.type", &class("RegexRouter")),
            ("transforms.route.regex", "(.*)"),
            ("transforms.route.replacement", "all"),
            ("transforms.mask.type", &class("MaskField$Value")),
            ("transforms.mask.fields", "id"),
            ("predicates", "elsewhere"),
            ("predicates.elsewhere.type", &class("predicates.TopicNameMatches")),
            ("predicates.elsewhere.pattern", "elsewhere"),
        ]
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .into();
        let named = [("transforms.decode.plugin", "decode"), ("transforms.never.plugin", "other")];
        assert_eq!(plugins_named(&properties), named.map(|(at, name)| (at.to_owned(), name.to_owned())));
        let (routes, errors) = read(&properties, "orders");
        let told: Vec<String> = errors.iter().map(ToString::to_string).collect();
        assert_eq!(told, ["transforms.decode.config.key: is no property of this transform"]);
        assert_eq!(
            (routes.before_call.as_deref(), routes.after_call.as_deref()),
            (Some("cast"), Some("mask"))
        );
        let plugins: Vec<&str> = routes.transforms.calls.iter().map(|call| call.plugin.as_str()).collect();
        assert_eq!(plugins, ["decode"], "the other is of no record of this topic");
    }
}
