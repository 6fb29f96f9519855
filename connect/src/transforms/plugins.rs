//! Which transforms and predicates there are, and their properties, as Kafka Connect's REST API tells them.

use super::{PACKAGE, WASM};

/// What a class is, in Kafka Connect's words.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum PluginKind {
    Transformation,
    Predicate,
}

impl PluginKind {
    pub fn word(self) -> &'static str {
        match self {
            Self::Transformation => "transformation",
            Self::Predicate => "predicate",
        }
    }
}

/// A transform or a predicate.
pub(crate) struct Plugin {
    /// Its class without the package.
    pub class: &'static str,
    pub kind: PluginKind,
    pub properties: &'static [Property],
}

impl Plugin {
    /// Its class as Kafka Connect writes it; what is not Kafka's has no package.
    pub fn full_class(&self) -> String {
        match self.class {
            WASM => WASM.to_owned(),
            class => format!("{PACKAGE}{class}"),
        }
    }
}

/// One of its properties.
pub(crate) struct Property {
    pub name: &'static str,
    /// In Kafka's words: `STRING`, `LIST`.
    pub of_type: &'static str,
    pub default: Option<&'static str>,
    pub is_required: bool,
    pub about: &'static str,
}

const fn needed(name: &'static str, of_type: &'static str, about: &'static str) -> Property {
    Property { name, of_type, default: None, is_required: true, about }
}

const fn optional(
    name: &'static str,
    of_type: &'static str,
    default: Option<&'static str>,
    about: &'static str,
) -> Property {
    Property { name, of_type, default, is_required: false, about }
}

const fn transform(class: &'static str, properties: &'static [Property]) -> Plugin {
    Plugin { class, kind: PluginKind::Transformation, properties }
}

const fn predicate(class: &'static str, properties: &'static [Property]) -> Plugin {
    Plugin { class, kind: PluginKind::Predicate, properties }
}

/// Every transform, then every predicate, by name.
pub(crate) const PLUGINS: &[Plugin] = &[
    transform(
        "Cast$Value",
        &[needed(
            "spec",
            "LIST",
            "columns and types: COLUMN:TYPE,…, with int8, int16, int32, int64, float32, float64, boolean, string",
        )],
    ),
    transform("DropHeaders", &[needed("headers", "LIST", "the names of the headers to take away")]),
    transform("ExtractField$Key", &[needed("field", "STRING", "the field of the key that becomes the key")]),
    transform(
        "ExtractField$Value",
        &[needed("field", "STRING", "the column, a struct, that becomes the whole value")],
    ),
    transform("Filter", &[]),
    transform(
        "Flatten$Value",
        &[optional("delimiter", "STRING", Some("."), "what stands between the names of structs and fields")],
    ),
    transform(
        "HeaderFrom$Value",
        &[
            needed("fields", "LIST", "of sources: the columns whose text becomes headers"),
            needed("headers", "LIST", "the names of the headers, one for each column"),
            needed("operation", "STRING", "move: the columns go; copy: they stay"),
        ],
    ),
    transform(
        "HoistField$Value",
        &[needed("field", "STRING", "the name of the one column that the whole value becomes")],
    ),
    transform(
        "InsertField$Value",
        &[
            optional("static.field", "STRING", None, "the column for static.value"),
            optional("static.value", "STRING", None, "the text of that column"),
            optional("topic.field", "STRING", None, "the column for the topic's name"),
            optional("offset.field", "STRING", None, "of sinks: the column for the record's offset"),
            optional("partition.field", "STRING", None, "of sinks: the column for the record's partition"),
            optional("timestamp.field", "STRING", None, "of sinks: the column for the record's time"),
        ],
    ),
    transform(
        "InsertHeader",
        &[
            needed("header", "STRING", "the header's name"),
            needed("value.literal", "STRING", "the header's value, as text"),
        ],
    ),
    transform(
        "MaskField$Value",
        &[
            needed("fields", "LIST", "the columns whose values are hidden"),
            optional(
                "replacement",
                "STRING",
                None,
                "what they become; the empty value of their type unless set",
            ),
        ],
    ),
    transform(
        "RegexRouter",
        &[
            needed("regex", "STRING", "what the whole of the topic's name must match"),
            needed("replacement", "STRING", "the topic's name then, with $1 for the first group"),
        ],
    ),
    transform(
        "ReplaceField$Value",
        &[
            optional("include", "LIST", None, "the columns that stay"),
            optional("exclude", "LIST", None, "the columns that go"),
            optional("renames", "LIST", None, "other names: FROM:TO,…"),
        ],
    ),
    transform(
        "TimestampConverter$Value",
        &[
            needed("field", "STRING", "the column of times"),
            needed("target.type", "STRING", "what it becomes: string, unix, Date or Timestamp"),
            optional("format", "STRING", None, "the pattern of text, as Java's SimpleDateFormat has it"),
            optional(
                "unix.precision",
                "STRING",
                Some("milliseconds"),
                "of numbers: seconds, milliseconds, microseconds or nanoseconds",
            ),
        ],
    ),
    transform("ValueToKey", &[needed("fields", "LIST", "the column that is the key")]),
    transform(
        WASM,
        &[needed(
            "plugin",
            "STRING",
            "the installed plugin, of the world transform, that records go through",
        )],
    ),
    predicate("predicates.HasHeaderKey", &[needed("name", "STRING", "the header's name")]),
    predicate("predicates.RecordIsTombstone", &[]),
    predicate(
        "predicates.TopicNameMatches",
        &[needed("pattern", "STRING", "what the whole of the topic's name must match")],
    ),
];

/// The plugin of a class, with its package or without.
pub(crate) fn plugin(class: &str) -> Option<&'static Plugin> {
    let class = class.strip_prefix(PACKAGE).unwrap_or(class);
    PLUGINS.iter().find(|plugin| plugin.class == class)
}

/// The names of those of a kind that are Kafka's, joined by commas.
pub(super) fn known(kind: PluginKind) -> String {
    let of_kafka = PLUGINS.iter().filter(|plugin| plugin.kind == kind && plugin.class != WASM);
    let names = of_kafka.map(|plugin| plugin.class);
    names.collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// With all its properties a plugin is read without a word about its class or a property that is not its own.
    #[test]
    fn every_plugin_and_property_told_is_one_that_is_read() {
        for plugin in PLUGINS {
            let is_transform = plugin.kind == PluginKind::Transformation;
            let (list, class) = (if is_transform { "transforms" } else { "predicates" }, plugin.class);
            let mut pairs =
                vec![(list.to_owned(), "a".to_owned()), (format!("{list}.a.type"), plugin.full_class())];
            if !is_transform {
                pairs.push(("transforms".to_owned(), "b".to_owned()));
                pairs.push(("transforms.b.type".to_owned(), "Filter".to_owned()));
                pairs.push(("transforms.b.predicate".to_owned(), "a".to_owned()));
            }
            pairs.extend(plugin.properties.iter().map(|property| {
                let value = match property.name {
                    "offset.field" | "partition.field" | "timestamp.field" => property.name,
                    "spec" => "c:string",
                    "renames" => "c:d",
                    "target.type" => "unix",
                    "unix.precision" => "seconds",
                    "operation" => "move",
                    _ => "c",
                };
                (format!("{list}.a.{}", property.name), value.to_owned())
            }));
            if class == "TimestampConverter$Value" {
                pairs.retain(|(name, _)| !name.ends_with("format"));
            }
            let (_, errors) = super::super::read(&pairs.into_iter().collect(), "t");
            // A key must be made before it is taken apart.
            let is_fine = |message: &str| message.contains("ValueToKey");
            assert!(errors.iter().all(|error| is_fine(&error.message)), "{class}: {errors:?}");
        }
        assert!(plugin("org.apache.kafka.connect.transforms.Filter").is_some() && plugin("Nope").is_none());
    }
}
