//! The `schemas:` section: type words become Arrow schemas, in the order of the file.

use std::collections::BTreeMap;

use arrow::datatypes::SchemaRef;

use crate::diagnostic::Findings;
use crate::yaml::Node;

/// Schemas by name.
pub type Schemas = BTreeMap<String, SchemaRef>;

/// Reads the section. A schema with a wrong type word is told and left out.
pub fn read(root: &Node, findings: &mut Findings) -> Schemas {
    let mut schemas = Schemas::new();
    for schema in root.get("schemas").map(Node::entries).unwrap_or_default() {
        let mut columns = Vec::new();
        let mut right = true;
        for column in schema.value.entries() {
            // What is no text is told by the shape.
            let Some(word) = column.value.text() else {
                right = false;
                continue;
            };
            match ottla_formats::parse_type(word) {
                Ok(_) => columns.push((column.key.as_str(), word)),
                Err(reason) => {
                    right = false;
                    findings.error(
                        column.value.at,
                        format!("the column `{}` of schema `{}`: {reason}", column.key, schema.key),
                    );
                }
            }
        }
        if columns.is_empty() && right {
            findings.error(schema.value.at, format!("the schema `{}` has no columns", schema.key));
        } else if right && let Ok(schema_ref) = ottla_formats::schema_of(columns) {
            schemas.insert(schema.key.clone(), schema_ref);
        }
    }
    schemas
}
