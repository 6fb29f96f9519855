//! Reading the properties `transforms.…` and `predicates.…`.

use std::collections::{BTreeMap, BTreeSet};

use arrow::datatypes::DataType;
use regex::Regex;

use super::columns::{Change, PlaceColumn};
use super::headers::HeaderFrom;
use super::plugins::{PluginKind, known};
use super::records::{Action, Step, When, header};
use super::times::{Pattern, Precision, Target};
use super::wasm::Call;
use super::{Named, PACKAGE, Routes, Transforms, WASM};
use crate::error::FieldError;

const TRANSFORMS: &str = "transforms";
const PREDICATES: &str = "predicates";
/// The property of a transform that calls a plugin.
const PLUGIN: &str = "plugin";

/// Whether a property is one of these.
pub(crate) fn is_transform_property(name: &str) -> bool {
    [TRANSFORMS, PREDICATES]
        .iter()
        .any(|list| name.strip_prefix(list).is_some_and(|rest| rest.is_empty() || rest.starts_with('.')))
}

/// The plugins that transforms call: the property that names each, and its name.
pub(crate) fn plugins_named(properties: &BTreeMap<String, String>) -> Vec<(String, String)> {
    let transforms = properties.get(TRANSFORMS).map(|names| words(names)).unwrap_or_default();
    let named = transforms.into_iter().filter_map(|transform| {
        let class = properties.get(&format!("{TRANSFORMS}.{transform}.type"))?;
        let property = format!("{TRANSFORMS}.{transform}.{PLUGIN}");
        let plugin = properties.get(&property)?.trim();
        (class_of(class) == WASM && !plugin.is_empty()).then(|| (property, plugin.to_owned()))
    });
    named.collect()
}

fn class_of(written: &str) -> &str {
    written.strip_prefix(PACKAGE).unwrap_or(written)
}

/// Reads what is to be done to the records of a topic, and everything that is wrong with the properties that say so.
pub(crate) fn read(properties: &BTreeMap<String, String>, topic: &str) -> (Routes, Vec<FieldError>) {
    let mut reading = Reading { properties, used: BTreeSet::new(), errors: Vec::new() };
    let (mut routes, mut changes, mut steps) = (Routes::default(), Vec::new(), Vec::new());
    let (mut calls, mut of_columns) = (Vec::new(), None);
    let mut keys: Vec<String> = Vec::new();
    let mut topic = topic.to_owned();
    for name in reading.list(TRANSFORMS) {
        let place = format!("{TRANSFORMS}.{name}");
        let Some(class) = reading.needed(&format!("{place}.type")) else { continue };
        let when = reading.predicate(&place, &topic);
        let class = class_of(&class);
        if class == WASM {
            let plugin = reading.needed(&format!("{place}.{PLUGIN}"));
            if let Some(plugin) = plugin.filter(|_| when != When::Topic(false)) {
                routes.before_call = routes.before_call.or_else(|| of_columns.clone());
                let (plugin, steps) = (plugin.trim().to_owned(), std::mem::take(&mut steps));
                calls.push(Call { transform: name, plugin, steps, when });
            }
            continue;
        }
        if let Some(action) = reading.action(class, &place) {
            steps.extend(action.map(|action| Step { when, action }));
            continue;
        }
        // Rows of a batch have the same columns, and the task one topic.
        let applies = when.holds_for_values().unwrap_or_else(|| {
            let why = "HasHeaderKey is for Filter, InsertHeader and DropHeaders here";
            reading.wrong(&format!("{place}.predicate"), why);
            false
        });
        if applies && class != "RegexRouter" {
            of_columns.get_or_insert_with(|| name.clone());
            if !calls.is_empty() {
                routes.after_call.get_or_insert_with(|| name.clone());
            }
        }
        let change = match class {
            "Cast$Value" => reading.cast(&place).map(Change::Cast),
            "ReplaceField$Value" => Some(reading.fields(&place)),
            "MaskField$Value" => reading.needed(&format!("{place}.fields")).map(|fields| Change::Mask {
                fields: words(&fields),
                replacement: reading.value(&format!("{place}.replacement")),
            }),
            "Flatten$Value" => {
                let delimiter = reading.value(&format!("{place}.delimiter"));
                Some(Change::Flatten(delimiter.unwrap_or_else(|| ".".to_owned())))
            }
            "HoistField$Value" => reading.needed(&format!("{place}.field")).map(Change::Hoist),
            "ExtractField$Value" => reading.needed(&format!("{place}.field")).map(Change::Extract),
            "TimestampConverter$Value" => reading.time(&place),
            "InsertField$Value" => {
                let (texts, places) = reading.inserted(&place, &topic);
                let place = (!places.is_empty()).then_some(Change::InsertPlace(places));
                changes.extend(place.filter(|_| applies).map(|change| Named { name: name.clone(), change }));
                (!texts.is_empty()).then_some(Change::Insert(texts))
            }
            "HeaderFrom$Value" => reading.header_from(&place).map(Change::HeaderFrom),
            "RegexRouter" => {
                if let Some(routed) = reading.routed(&place, &topic).filter(|_| applies) {
                    routes.topic = Some(routed.clone());
                    topic = routed;
                }
                None
            }
            "ValueToKey" => {
                if let Some(fields) = reading.needed(&format!("{place}.fields")) {
                    keys = words(&fields);
                    if keys.len() != 1 {
                        reading.wrong(&format!("{place}.fields"), "a key is one column here");
                    }
                }
                None
            }
            "ExtractField$Key" => {
                let field = reading.needed(&format!("{place}.field"));
                match field {
                    Some(field) if keys == [field.clone()] => routes.key = applies.then_some(field),
                    Some(field) => {
                        let why = format!("no ValueToKey before it makes a key of '{field}'");
                        reading.wrong(&format!("{place}.field"), &why);
                    }
                    None => {}
                }
                None
            }
            _ => {
                let known = known(PluginKind::Transformation);
                let why = format!("{class} is not known here; there are, in {PACKAGE}*: {known}; and {WASM}");
                reading.wrong(&format!("{place}.type"), &why);
                None
            }
        };
        changes.extend(change.filter(|_| applies).map(|change| Named { name, change }));
    }
    if !keys.is_empty() && routes.key.is_none() {
        reading
            .wrong(TRANSFORMS, "ValueToKey needs ExtractField$Key after it: keys are the text of a column");
    }
    reading.tell_unused();
    routes.transforms = Transforms { changes: changes.into(), calls: calls.into(), steps: steps.into() };
    (routes, reading.errors)
}

/// Columns that `InsertField` adds: by name, what is in them.
type Inserted<T> = Vec<(String, T)>;

struct Reading<'a> {
    properties: &'a BTreeMap<String, String>,
    used: BTreeSet<String>,
    errors: Vec<FieldError>,
}

impl Reading<'_> {
    fn value(&mut self, name: &str) -> Option<String> {
        let value = self.properties.get(name)?.clone();
        self.used.insert(name.to_owned());
        Some(value)
    }

    fn needed(&mut self, name: &str) -> Option<String> {
        let value = self.value(name).filter(|value| !value.trim().is_empty());
        if value.is_none() {
            self.wrong(name, "is missing and has no default");
        }
        value
    }

    fn wrong(&mut self, name: &str, why: &str) {
        self.used.insert(name.to_owned());
        self.errors.push(FieldError::new(name, why));
    }

    fn list(&mut self, name: &str) -> Vec<String> {
        let names = self.value(name).map(|names| words(&names)).unwrap_or_default();
        for (place, one) in names.iter().enumerate() {
            if names[..place].contains(one) {
                self.wrong(name, &format!("{one} is named twice"));
            }
        }
        names
    }

    /// When a transform is done.
    fn predicate(&mut self, place: &str, topic: &str) -> When {
        let never = When::Topic(false);
        let negate = self.value(&format!("{place}.negate")).is_some_and(|value| value.trim() == "true");
        let named_by = format!("{place}.predicate");
        let Some(name) = self.value(&named_by) else { return When::Topic(true) };
        let named = self.properties.get(PREDICATES).map(|names| words(names)).unwrap_or_default();
        if !named.contains(&name) {
            self.wrong(&named_by, &format!("there is no predicate {name}"));
            return never;
        }
        let class_of = format!("{PREDICATES}.{name}.type");
        let Some(class) = self.needed(&class_of) else { return never };
        match class.strip_prefix(PACKAGE).unwrap_or(&class) {
            "predicates.TopicNameMatches" => {
                let pattern = self.regex(&format!("{PREDICATES}.{name}.pattern"));
                pattern.map_or(never, |pattern| When::Topic(pattern.is_match(topic) != negate))
            }
            "predicates.RecordIsTombstone" => When::Tombstone { negate },
            "predicates.HasHeaderKey" => {
                let header = self.needed(&format!("{PREDICATES}.{name}.name"));
                header.map_or(never, |name| When::HasHeader { name, negate })
            }
            _ => {
                let known = known(PluginKind::Predicate);
                let why = format!("{class} is not known here; there are, in {PACKAGE}*: {known}");
                self.wrong(&class_of, &why);
                never
            }
        }
    }

    /// What a transform does to whole records; the outer `None` says that it changes columns or the route.
    fn action(&mut self, class: &str, place: &str) -> Option<Option<Action>> {
        Some(match class {
            "Filter" => Some(Action::Drop),
            "InsertHeader" => {
                let name = self.needed(&format!("{place}.header"));
                let value = self.needed(&format!("{place}.value.literal"));
                name.zip(value).map(|(name, value)| Action::Insert(header(&name, &value)))
            }
            "DropHeaders" => {
                self.needed(&format!("{place}.headers")).map(|names| Action::Remove(words(&names)))
            }
            _ => return None,
        })
    }

    fn header_from(&mut self, place: &str) -> Option<HeaderFrom> {
        let named = |what: &str| format!("{place}.{what}");
        let fields = self.needed(&named("fields")).map(|fields| words(&fields));
        let headers = self.needed(&named("headers")).map(|headers| words(&headers));
        let is_move = match self.needed(&named("operation"))?.trim() {
            "move" => true,
            "copy" => false,
            other => {
                self.wrong(&named("operation"), &format!("{other} is neither move nor copy"));
                false
            }
        };
        let (fields, headers) = fields.zip(headers)?;
        if fields.len() != headers.len() {
            let why = format!("{} names for {} columns", headers.len(), fields.len());
            self.wrong(&named("headers"), &why);
        }
        Some(HeaderFrom { fields: fields.into_iter().zip(headers).collect(), is_move })
    }

    fn time(&mut self, place: &str) -> Option<Change> {
        let named = |what: &str| format!("{place}.{what}");
        let field = self.needed(&named("field"));
        let target = match self.needed(&named("target.type"))?.trim() {
            "string" => Target::Text,
            "unix" => Target::Unix,
            "Timestamp" => Target::Timestamp,
            "Date" => Target::Date,
            other => {
                let why = format!("{other} is not known here; there are: string, unix, Date, Timestamp");
                self.wrong(&named("target.type"), &why);
                return None;
            }
        };
        let precision = match self.value(&named("unix.precision")).as_deref().map(str::trim) {
            None | Some("milliseconds") => Precision::Millis,
            Some("seconds") => Precision::Seconds,
            Some("microseconds") => Precision::Micros,
            Some("nanoseconds") => Precision::Nanos,
            Some(other) => {
                let known = "seconds, milliseconds, microseconds, nanoseconds";
                self.wrong(&named("unix.precision"), &format!("{other} is no precision; there are: {known}"));
                return None;
            }
        };
        let pattern = match self.value(&named("format")).filter(|format| !format.is_empty()) {
            Some(format) => match Pattern::parse(&format) {
                Ok(pattern) => Some(pattern),
                Err(why) => {
                    self.wrong(&named("format"), &why);
                    return None;
                }
            },
            None if target == Target::Text => {
                self.wrong(&named("format"), "is missing, by which times become text");
                return None;
            }
            None => None,
        };
        Some(Change::Time { field: field?, target, pattern, precision })
    }

    /// A pattern that the whole of a text must match.
    fn regex(&mut self, name: &str) -> Option<Regex> {
        let text = self.needed(name)?;
        match Regex::new(&format!("^(?:{text})$")) {
            Ok(regex) => Some(regex),
            Err(error) => {
                self.wrong(name, &error.to_string());
                None
            }
        }
    }

    fn routed(&mut self, place: &str, topic: &str) -> Option<String> {
        let regex = self.regex(&format!("{place}.regex"));
        let replacement = self.needed(&format!("{place}.replacement"))?;
        let regex = regex.filter(|regex| regex.is_match(topic))?;
        // As Java has it, a number ends with its digits: $1x is the first group and an x.
        let replacement = braced(&replacement);
        Some(regex.replace(topic, replacement).into_owned())
    }

    fn cast(&mut self, place: &str) -> Option<Vec<(String, DataType)>> {
        let name = format!("{place}.spec");
        let spec = self.needed(&name)?;
        let mut columns = Vec::new();
        for pair in words(&spec) {
            let Some((column, word)) = pair.rsplit_once(':') else {
                self.wrong(&name, &format!("{pair} should be COLUMN:TYPE"));
                continue;
            };
            let wanted = match word.trim() {
                "int8" => DataType::Int8,
                "int16" => DataType::Int16,
                "int32" => DataType::Int32,
                "int64" => DataType::Int64,
                "float32" => DataType::Float32,
                "float64" => DataType::Float64,
                "boolean" => DataType::Boolean,
                "string" => DataType::Utf8,
                other => {
                    let known = "int8, int16, int32, int64, float32, float64, boolean, string";
                    self.wrong(&name, &format!("{other} is no type; there are: {known}"));
                    continue;
                }
            };
            columns.push((column.trim().to_owned(), wanted));
        }
        Some(columns)
    }

    fn fields(&mut self, place: &str) -> Change {
        let mut of = |what: &str| self.value(&format!("{place}.{what}")).map(|names| words(&names));
        let (include, exclude, pairs) = (of("include"), of("exclude"), of("renames"));
        let mut renames = Vec::new();
        for pair in pairs.unwrap_or_default() {
            match pair.split_once(':') {
                Some((from, to)) => renames.push((from.trim().to_owned(), to.trim().to_owned())),
                None => self.wrong(&format!("{place}.renames"), &format!("{pair} should be FROM:TO")),
            }
        }
        Change::Fields { include, exclude: exclude.unwrap_or_default(), renames }
    }

    /// Columns with a text, and columns of where records were read.
    fn inserted(&mut self, place: &str, topic: &str) -> (Inserted<String>, Inserted<PlaceColumn>) {
        let mut inserted = Vec::new();
        if let Some(field) = self.value(&format!("{place}.static.field")) {
            let text = self.needed(&format!("{place}.static.value"));
            inserted.extend(text.map(|text| (field, text)));
        }
        let of_topic = self.value(&format!("{place}.topic.field"));
        inserted.extend(of_topic.map(|field| (field, topic.to_owned())));
        let mut of_places = Vec::new();
        for (property, column) in [
            ("offset.field", PlaceColumn::Offset),
            ("partition.field", PlaceColumn::Partition),
            ("timestamp.field", PlaceColumn::Timestamp),
        ] {
            of_places.extend(self.value(&format!("{place}.{property}")).map(|field| (field, column)));
        }
        if inserted.is_empty() && of_places.is_empty() {
            let why =
                "names no column, nor does topic.field, offset.field, partition.field or timestamp.field";
            self.wrong(&format!("{place}.static.field"), why);
        }
        (inserted, of_places)
    }

    /// Properties that look like a transform's and are none's.
    fn tell_unused(&mut self) {
        self.used.insert(PREDICATES.to_owned());
        let unused: Vec<String> = self
            .properties
            .keys()
            .filter(|name| is_transform_property(name) && !self.used.contains(*name))
            .cloned()
            .collect();
        for name in unused {
            let mut parts = name.split('.');
            let (list, one) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
            let named = self.properties.get(list).map(|names| words(names)).unwrap_or_default();
            let why = match named.iter().any(|word| word == one) {
                true if list == PREDICATES => "no transform uses this predicate".to_owned(),
                true => "is no property of this transform".to_owned(),
                false => format!("{list} does not name {one}"),
            };
            self.wrong(&name, &why);
        }
    }
}

fn words(text: &str) -> Vec<String> {
    text.split(',').map(|word| word.trim().to_owned()).filter(|word| !word.is_empty()).collect()
}

fn braced(replacement: &str) -> String {
    let mut braced = String::new();
    let mut rest = replacement.chars().peekable();
    while let Some(letter) = rest.next() {
        braced.push(letter);
        if letter == '$' && rest.peek().is_some_and(char::is_ascii_digit) {
            braced.push('{');
            while let Some(digit) = rest.next_if(char::is_ascii_digit) {
                braced.push(digit);
            }
            braced.push('}');
        }
    }
    braced
}
