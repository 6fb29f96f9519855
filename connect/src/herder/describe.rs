//! What Kafka Connect's REST API tells of plugins and of properties: pure.

use serde_json::{Value, json};

use super::definition::{CLASS, Common, Definition, Properties, class_name, class_named, common_of};
use crate::registry::{ConnectorType, connector_types, is_secret};
use crate::secret::HIDDEN;

const OF_WORKER: &str = "Common";
const OF_CONNECTOR: &str = "Connector";

/// `GET /connector-plugins`.
pub(super) fn plugins() -> Value {
    let plugin = |class: &ConnectorType| {
        json!({
            "class": class_name(class),
            "type": class.kind().word(),
            "version": env!("CARGO_PKG_VERSION"),
        })
    };
    connector_types().iter().map(plugin).collect()
}

/// `GET /connector-plugins/CLASS/config`; `None` when there is no such class.
pub(super) fn config_keys(class: &str) -> Option<Value> {
    Some(keys(class_named(class)?).into_iter().map(|key| key.definition).collect())
}

/// `PUT /connector-plugins/CLASS/config/validate`: every property with its definition, value and errors. `Err` tells what is
/// wrong with the request itself.
pub(super) fn validate(class: &str, properties: &Properties) -> Result<Value, String> {
    let found = class_named(class).ok_or_else(|| format!("there is no connector plugin {class}"))?;
    if let Some(named) = properties.get(CLASS).filter(|named| *named != class) {
        return Err(format!("Included connector type {named} does not match request type {class}"));
    }
    let mut whole = properties.clone();
    whole.insert(CLASS.to_owned(), class.to_owned());
    let mut errors = Definition::read(&whole).err().unwrap_or_default();
    if whole.get("name").is_none_or(|name| name.trim().is_empty()) {
        errors.push(crate::FieldError::new("name", "is missing and has no default"));
    }
    let told = |name: &str| -> Vec<&str> {
        let of = errors.iter().filter(|error| error.field == name);
        of.map(|error| error.message.as_str()).collect()
    };
    let mut known = keys(found);
    // What nobody knows is told too: it is why the properties are refused.
    // Transforms' properties too, which have names of their own.
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
    Ok(json!({
        "name": class,
        "error_count": configs.iter().filter(|config| config["value"]["errors"] != json!([])).count(),
        "groups": [OF_WORKER, OF_CONNECTOR],
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
        Key::new(common.name.to_owned(), "STRING", default, common.required, common.about, OF_WORKER)
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
        let found = validate("FileSource", &properties).unwrap();
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
        assert!(validate("NoSource", &properties).is_err());
    }
}
