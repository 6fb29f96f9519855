//! What Kafka Connect's REST API tells of plugins and of properties: pure.

use serde_json::{Value, json};

use super::definition::{CLASS, Common, Definition, Properties, class_name, class_named, common_of};
use crate::error::FieldError;
use crate::registry::{ConnectorType, connector_types, is_secret};
use crate::secret::HIDDEN;
use crate::transforms::{PACKAGE, PLUGINS, Plugin, Property, plugin};

const OF_WORKER: &str = "Common";
const OF_CONNECTOR: &str = "Connector";

const VERSION: &str = env!("CARGO_PKG_VERSION");
/// Converters by Kafka Connect's class names.
const CONVERTERS: [&str; 2] =
    ["io.confluent.connect.avro.AvroConverter", "org.apache.kafka.connect.json.JsonConverter"];

/// `GET /connector-plugins`; without `connectors_only` also transforms, predicates and converters.
pub(super) fn plugins(connectors_only: bool) -> Value {
    let told = |class: &str, word: &str| json!({ "class": class, "type": word, "version": VERSION });
    let connectors = connector_types().iter().map(|class| told(&class_name(class), class.kind().word()));
    if connectors_only {
        return connectors.collect();
    }
    let converters = CONVERTERS.iter().map(|class| told(class, "converter"));
    let others = PLUGINS.iter().map(|plugin| told(&plugin.full_class(), plugin.kind.word()));
    connectors.chain(converters).chain(others).collect()
}

/// `GET /connector-plugins/CLASS/config`; `None` when there is no such class.
pub(super) fn config_keys(class: &str) -> Option<Value> {
    let keys = match class_named(class) {
        Some(class) => keys(class),
        None => plugin_keys(plugin(class)?, "", plugin_group(class)),
    };
    Some(keys.into_iter().map(|key| key.definition).collect())
}

fn plugin_group(class: &str) -> &str {
    class.strip_prefix(PACKAGE).unwrap_or(class)
}

/// The properties of a transform or predicate, with what stands before their names.
fn plugin_keys(plugin: &Plugin, before: &str, group: &str) -> Vec<Key> {
    let key = |property: &Property| {
        let default = property.default.map(str::to_owned);
        let name = format!("{before}{}", property.name);
        Key::new(name, property.of_type, default, property.is_required, property.about, group)
    };
    plugin.properties.iter().map(key).collect()
}

/// The properties of the transforms and predicates that properties name, and their groups.
fn transform_keys(properties: &Properties) -> (Vec<Key>, Vec<String>) {
    let (mut keys, mut groups) = (Vec::new(), Vec::new());
    for (list, word) in [("transforms", "Transforms"), ("predicates", "Predicates")] {
        let names = properties.get(list).map(String::as_str).unwrap_or_default().split(',').map(str::trim);
        for name in names.filter(|name| !name.is_empty()) {
            let (before, group) = (format!("{list}.{name}."), format!("{word}: {name}"));
            let mut add = |name: &str, of_type, default: Option<&str>, required, about| {
                let default = default.map(str::to_owned);
                keys.push(Key::new(format!("{before}{name}"), of_type, default, required, about, &group));
            };
            add("type", "CLASS", None, true, "the class");
            if list == "transforms" {
                add("predicate", "STRING", None, false, "the predicate for which this is done");
                add(
                    "negate",
                    "BOOLEAN",
                    Some("false"),
                    false,
                    "whether it is done where the predicate does not hold",
                );
            }
            let class = properties.get(&format!("{before}type"));
            if let Some(plugin) = class.and_then(|class| plugin(class)) {
                keys.extend(plugin_keys(plugin, &before, &group));
            }
            groups.push(group);
        }
    }
    (keys, groups)
}

/// `PUT /connector-plugins/CLASS/config/validate`: every property with its definition, value and errors, `wrong_plugins` among
/// them. `Err` tells what is wrong with the request itself.
pub(super) fn validate(
    class: &str,
    properties: &Properties,
    wrong_plugins: Vec<FieldError>,
) -> Result<Value, String> {
    let found = class_named(class).ok_or_else(|| format!("there is no connector plugin {class}"))?;
    if let Some(named) = properties.get(CLASS).filter(|named| *named != class) {
        return Err(format!("Included connector type {named} does not match request type {class}"));
    }
    let mut whole = properties.clone();
    whole.insert(CLASS.to_owned(), class.to_owned());
    let mut errors = Definition::read(&whole).err().unwrap_or_default();
    errors.extend(wrong_plugins);
    if whole.get("name").is_none_or(|name| name.trim().is_empty()) {
        errors.push(FieldError::new("name", "is missing and has no default"));
    }
    let told = |name: &str| -> Vec<&str> {
        let of = errors.iter().filter(|error| error.field == name);
        of.map(|error| error.message.as_str()).collect()
    };
    let mut known = keys(found);
    let (of_transforms, groups) = transform_keys(&whole);
    known.extend(of_transforms);
    // What nobody knows is told too: it is why the properties are refused.
    let unknown: Vec<String> =
        whole.keys().filter(|name| known.iter().all(|key| key.name != **name)).cloned().collect();
    known.extend(unknown.into_iter().map(|name| Key::new(name, "STRING", None, false, "", OF_CONNECTOR)));
    let configs: Vec<Value> = known
        .iter()
        .map(|key| {
            let given = whole.get(&key.name).cloned();
            let value = match key.definition["type"] == "PASSWORD" {
                true => given.map(|_| HIDDEN.to_owned()),
                false => given.or_else(|| key.default.clone()),
            };
            json!({
                "definition": key.definition,
                "value": {
                    "name": key.name,
                    "value": value,
                    "recommended_values": [],
                    "errors": told(&key.name),
                    "visible": true,
                },
            })
        })
        .collect();
    let own_groups = [OF_WORKER, OF_CONNECTOR].map(str::to_owned);
    let all_groups: Vec<String> = own_groups.into_iter().chain(groups).collect();
    Ok(json!({
        "name": class,
        "error_count": configs.iter().filter(|config| config["value"]["errors"] != json!([])).count(),
        "groups": all_groups,
        "configs": configs,
    }))
}

struct Key {
    name: String,
    default: Option<String>,
    definition: Value,
}

impl Key {
    fn new(
        name: String,
        of_type: &str,
        default: Option<String>,
        required: bool,
        about: &str,
        group: &str,
    ) -> Key {
        let definition = json!({
            "name": name,
            "type": of_type,
            "required": required,
            "default_value": default,
            "importance": if required { "HIGH" } else { "MEDIUM" },
            "documentation": about,
            "group": group,
            "width": "MEDIUM",
            "display_name": name,
            "dependents": [],
            "order": -1,
        });
        Key { name, default, definition }
    }
}

/// Kafka's word for a type of JSON Schema, of one that may be null too.
fn type_word(found: &Value) -> &'static str {
    let words: Vec<&str> = match found {
        Value::String(word) => vec![word],
        Value::Array(words) => words.iter().filter_map(Value::as_str).collect(),
        _ => Vec::new(),
    };
    match words.into_iter().find(|word| *word != "null") {
        Some("boolean") => "BOOLEAN",
        Some("integer") => "LONG",
        Some("number") => "DOUBLE",
        Some("array") => "LIST",
        _ => "STRING",
    }
}

/// The properties of a class: those of the worker, then its own.
fn keys(class: &ConnectorType) -> Vec<Key> {
    let of_worker = common_of(class.kind()).map(|common: &Common| {
        let default = common.default.map(str::to_owned);
        let of_type = match common.name {
            "topics" | "transforms" | "predicates" => "LIST",
            "tasks.max" => "INT",
            "errors.retry.timeout" | "errors.retry.delay.max.ms" | "transaction.boundary.interval.ms" => {
                "LONG"
            }
            "value.converter" => "CLASS",
            "value.converter.schemas.enable" => "BOOLEAN",
            _ => "STRING",
        };
        Key::new(common.name.to_owned(), of_type, default, common.required, common.about, OF_WORKER)
    });
    let schema = class.config_schema();
    let required: Vec<&str> = match &schema["required"] {
        Value::Array(names) => names.iter().filter_map(Value::as_str).collect(),
        _ => Vec::new(),
    };
    let own = class.field_names().into_iter().map(|name| {
        let field = &schema["properties"][&name];
        let of_type = match &field["type"] {
            _ if is_secret(&schema, &name) => "PASSWORD",
            found => type_word(found),
        };
        let default = match &field["default"] {
            Value::Null => None,
            Value::String(text) => Some(text.clone()),
            Value::Array(items) => {
                let texts = items.iter().filter_map(Value::as_str);
                Some(texts.collect::<Vec<_>>().join(","))
            }
            other => Some(other.to_string()),
        };
        let about = field["description"].as_str().unwrap_or_default();
        let is_required = required.contains(&name.as_str());
        Key::new(name, of_type, default, is_required, about, OF_CONNECTOR)
    });
    of_worker.chain(own).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_validation_has_every_property_with_its_errors() {
        let properties: Properties =
            [("path", "/x"), ("frmat", "csv")].map(|(name, value)| (name.into(), value.into())).into();
        let found = validate("FileSource", &properties, Vec::new()).unwrap();
        let of = |name: &str| -> Value {
            let configs = found["configs"].as_array().unwrap();
            configs.iter().find(|config| config["value"]["name"] == name).unwrap().clone()
        };
        assert_eq!(of("path")["value"]["value"], "/x");
        assert_eq!(of("path")["value"]["errors"], json!([]));
        assert_eq!(of("format")["value"]["errors"][0], "is missing and has no default");
        assert_eq!(of("frmat")["value"]["errors"][0], "unknown field; did you mean 'format'?");
        assert_eq!(of("header")["definition"]["type"], "BOOLEAN");
        assert_eq!(of("header")["value"]["value"], "true");
        assert_eq!(found["error_count"], 4, "{found:#}");
        assert!(validate("NoSource", &properties, Vec::new()).is_err());
    }

    #[test]
    fn transforms_and_predicates_are_told_with_their_properties() {
        let all = plugins(false);
        let word = |class: &str| {
            let plugins = all.as_array().unwrap();
            plugins.iter().find(|plugin| plugin["class"] == class).map(|plugin| plugin["type"].clone())
        };
        assert_eq!(word("PostgresSink"), Some(json!("sink")));
        assert_eq!(word("org.apache.kafka.connect.transforms.Filter"), Some(json!("transformation")));
        let class = "org.apache.kafka.connect.transforms.predicates.HasHeaderKey";
        assert_eq!(word(class), Some(json!("predicate")));
        assert_eq!(word("org.apache.kafka.connect.json.JsonConverter"), Some(json!("converter")));
        assert!(plugins(true).as_array().unwrap().len() < all.as_array().unwrap().len());
        assert_eq!(config_keys(class).unwrap()[0]["name"], "name");

        let properties: Properties = [
            ("name", "a"),
            ("topic", "t"),
            ("path", "/x"),
            ("format", "csv"),
            ("transforms", "cast"),
            ("transforms.cast.type", "org.apache.kafka.connect.transforms.Cast$Value"),
            ("transforms.cast.spec", "a:text"),
        ]
        .map(|(name, value)| (name.into(), value.into()))
        .into();
        let found = validate("FileSource", &properties, Vec::new()).unwrap();
        assert_eq!(found["groups"], json!(["Common", "Connector", "Transforms: cast"]));
        let configs = found["configs"].as_array().unwrap();
        let spec = configs.iter().find(|config| config["value"]["name"] == "transforms.cast.spec").unwrap();
        assert_eq!(
            (&spec["definition"]["type"], &spec["definition"]["group"]),
            (&json!("LIST"), &json!("Transforms: cast"))
        );
        assert!(spec["value"]["errors"][0].as_str().unwrap().starts_with("text is no type"), "{spec}");
        assert_eq!(found["error_count"], 1, "{found:#}");
    }
}
