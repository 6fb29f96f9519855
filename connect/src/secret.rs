//! Text of a config that nobody may see.

use std::borrow::Cow;
use std::fmt;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

/// What stands where a secret would be shown, as in Kafka Connect.
pub(crate) const HIDDEN: &str = "[hidden]";

/// A password or a token: shown by [`expose`](Secret::expose) alone, so that it gets into no log and no message. Its schema
/// has the format `password`, by which the REST API knows what it must not show.
#[derive(Clone, PartialEq, Eq, Deserialize)]
#[serde(transparent)]
pub(crate) struct Secret(String);

impl Secret {
    /// The text, to be sent to who is to know it.
    pub(crate) fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(HIDDEN)
    }
}

/// For configs that are shown.
impl Serialize for Secret {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(HIDDEN)
    }
}

impl JsonSchema for Secret {
    fn schema_name() -> Cow<'static, str> {
        "Secret".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "format": "password" })
    }

    fn inline_schema() -> bool {
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_shows_itself_to_nobody_but_who_asks() {
        let secret: Secret = serde_json::from_str("\"hunter2\"").unwrap();
        assert_eq!(secret.expose(), "hunter2");
        assert_eq!(
            (format!("{secret:?}"), serde_json::to_string(&secret).unwrap().as_str()),
            (HIDDEN.to_owned(), "\"[hidden]\"")
        );
        #[derive(JsonSchema)]
        #[allow(dead_code)]
        struct Config {
            token: Option<Secret>,
        }
        let schema = schemars::schema_for!(Config).to_value();
        assert_eq!(schema["properties"]["token"]["format"], "password", "{schema}");
    }
}
