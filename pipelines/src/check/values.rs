//! `!env NAME` and `!secret name`: what they stand for. Only names that the file declares are read, and only
//! whole scalars are replaced, so a value cannot change the document's shape. Secrets' values are never
//! shown: see [`Secrets::redact`].

use std::collections::BTreeMap;
use std::path::Path;

use crate::check::shape::{Substitute, Substitutes, json_of};
use crate::diagnostic::{Findings, suggestion};
use crate::yaml::{Node, Value};

/// How environment variables are looked up.
pub type Environment<'a> = dyn Fn(&str) -> Option<String> + 'a;

/// The values that must not appear in anything shown.
#[derive(Clone, Default)]
pub struct Secrets(Vec<String>);

impl Secrets {
    /// The text with every secret's value replaced.
    pub fn redact(&self, text: &str) -> String {
        self.0.iter().fold(text.to_owned(), |text, secret| text.replace(secret.as_str(), "***"))
    }

    /// The value with every text that is a secret replaced.
    pub fn redact_json(&self, value: &mut serde_json::Value) {
        match value {
            serde_json::Value::String(text) if self.0.contains(text) => "***".clone_into(text),
            serde_json::Value::Array(items) => items.iter_mut().for_each(|item| self.redact_json(item)),
            serde_json::Value::Object(fields) => {
                fields.values_mut().for_each(|field| self.redact_json(field))
            }
            serde_json::Value::Null
            | serde_json::Value::Bool(_)
            | serde_json::Value::Number(_)
            | serde_json::Value::String(_) => {}
        }
    }

    fn add(&mut self, value: &str) {
        // An empty value hides nothing, and would match everywhere.
        if !value.is_empty() && !self.0.iter().any(|known| known == value) {
            self.0.push(value.to_owned());
            // The longest first, so that a secret inside another leaves no rest.
            self.0.sort_by_key(|secret| std::cmp::Reverse(secret.len()));
        }
    }
}

impl std::fmt::Debug for Secrets {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Secrets({})", self.0.len())
    }
}

/// Finds what every tag of the file stands for.
pub fn look_up(
    root: &Node,
    folder: &Path,
    environment: &Environment<'_>,
    findings: &mut Findings,
) -> (Substitutes, Secrets) {
    let mut lookup = Lookup {
        root,
        folder,
        environment,
        findings,
        substitutes: Substitutes::default(),
        secrets: Secrets::default(),
        read: BTreeMap::new(),
    };
    for section in root.entries() {
        match section.key.as_str() {
            "env" | "secrets" => lookup.node(&section.value, Place::Declaration),
            "sources" | "sinks" => {
                lookup.tag(&section.value, Place::Elsewhere);
                for stage in section.value.entries() {
                    lookup.tag(&stage.value, Place::Elsewhere);
                    for field in stage.value.entries() {
                        let place = if field.key == "config" { Place::Config } else { Place::Elsewhere };
                        lookup.node(&field.value, place);
                    }
                }
            }
            _ => lookup.node(&section.value, Place::Elsewhere),
        }
    }
    (lookup.substitutes, lookup.secrets)
}

/// Where in the file a tag stands, which decides what it may be.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    /// Where names are declared: the one place where none can be used.
    Declaration,
    /// A connector's config: the one place for secrets, since it is never shown.
    Config,
    Elsewhere,
}

struct Lookup<'a> {
    root: &'a Node,
    folder: &'a Path,
    environment: &'a Environment<'a>,
    findings: &'a mut Findings,
    substitutes: Substitutes,
    secrets: Secrets,
    /// Values read already: a file is read once, and a failure is told where it is first used and where else
    /// it is used too.
    read: BTreeMap<(String, String), Result<Substitute, String>>,
}

impl Lookup<'_> {
    fn node(&mut self, node: &Node, place: Place) {
        self.tag(node, place);
        for item in node.items() {
            self.node(item, place);
        }
        for entry in node.entries() {
            self.node(&entry.value, place);
        }
    }

    fn tag(&mut self, node: &Node, place: Place) {
        if let Some(tag) = &node.tag {
            self.tagged(node, tag, place);
        }
    }

    fn tagged(&mut self, node: &Node, tag: &str, place: Place) {
        let section = match tag {
            "env" => "env",
            "secret" => "secrets",
            _ => {
                let help = suggestion(tag, ["env", "secret"]).unwrap_or_default();
                self.findings.error_with_help(node.at, format!("there is no tag `!{tag}`"), help);
                return;
            }
        };
        if place == Place::Declaration {
            self.findings.error(node.at, format!("`!{tag}` cannot be used where names are declared"));
            return;
        }
        if section == "secrets" && place != Place::Config {
            self.findings.error(
                node.at,
                "a secret can only be used in a connector's `config`, because everything else is shown",
            );
            return;
        }
        let Some(name) = node.text() else {
            let message = format!("`!{tag}` is followed by a name, not by {}", node.kind());
            self.findings.error_with_help(node.at, message, format!("write `!{tag} NAME`"));
            return;
        };
        let declared = self.root.get(section).and_then(|section| section.get(name));
        let Some(declared) = declared else {
            let names = self.root.get(section).map(Node::entries).unwrap_or_default();
            let help = suggestion(name, names.iter().map(|entry| entry.key.as_str()))
                .unwrap_or_else(|| format!("declare it under `{section}:`"));
            self.findings.error_with_help(
                node.at,
                format!("`{name}` is not declared under `{section}:`"),
                help,
            );
            return;
        };
        let key = (section.to_owned(), name.to_owned());
        let value = match self.read.get(&key) {
            Some(value) => value.clone(),
            None => {
                let value = if section == "env" {
                    self.variable(name, declared)
                } else {
                    self.secret(name, declared)
                };
                self.read.insert(key, value.clone());
                value
            }
        };
        match value {
            Ok(substitute) => self.substitutes.insert(node, substitute),
            Err(reason) => self.findings.error(node.at, reason),
        }
    }

    fn variable(&self, name: &str, declared: &Node) -> Result<Substitute, String> {
        if let Some(text) = (self.environment)(name) {
            // A path from outside starts where whoever set it stood.
            return Ok(Substitute { text, relative_to_file: false });
        }
        match declared.get("default").map(|default| json_of(default, &Substitutes::default())) {
            None | Some(serde_json::Value::Null) => {
                Err(format!("the environment variable {name} is not set, and `env:` gives it no default"))
            }
            Some(default) => {
                let text = default.as_str().map_or_else(|| default.to_string(), str::to_owned);
                let relative_to_cwd = declared.get("relative_to").and_then(Node::text) == Some("cwd");
                Ok(Substitute { text, relative_to_file: !relative_to_cwd })
            }
        }
    }

    fn secret(&mut self, name: &str, declared: &Node) -> Result<Substitute, String> {
        let key = declared.get("key").and_then(Node::text);
        let from = declared.get("from").and_then(Node::text);
        let (Some(key), Some(from)) = (key, from) else {
            // The shape of the declaration is wrong, which is told there.
            return Ok(Substitute { text: String::new(), relative_to_file: false });
        };
        let text = match from {
            "env" => (self.environment)(key).ok_or_else(|| {
                format!("the secret `{name}` is kept in the environment variable {key}, which is not set")
            })?,
            "file" => {
                let path = self.folder.join(key);
                let text = std::fs::read_to_string(&path).map_err(|reason| {
                    format!(
                        "the secret `{name}` is kept in {}, which cannot be read: {reason}",
                        path.display()
                    )
                })?;
                text.trim_end_matches(['\n', '\r']).to_owned()
            }
            _ => String::new(),
        };
        self.secrets.add(&text);
        Ok(Substitute { text, relative_to_file: false })
    }
}

/// Whether a node's own text, if it is a relative path, starts at the file's folder.
pub fn starts_at_file(node: &Node, substitutes: &Substitutes) -> bool {
    match (substitutes.get(node), &node.value) {
        (Some(substitute), _) => substitute.relative_to_file,
        (None, Value::Text(_)) => node.tag.is_none(),
        (None, Value::Null | Value::Bool(_) | Value::Number(_) | Value::List(_) | Value::Map(_)) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::yaml::parse;

    fn look(text: &str, folder: &Path) -> (Vec<String>, Vec<Option<Substitute>>, Secrets) {
        let root = parse(text).unwrap();
        let mut findings = Findings::new(Path::new("p.yaml"), text);
        let environment =
            |name: &str| (name == "SET" || name == "TOKEN").then(|| format!("{name}-from-outside"));
        let (substitutes, secrets) = look_up(&root, folder, &environment, &mut findings);
        let uses = root.nearest(["sources".into(), "s".into(), "config".into(), "use".into()]).items();
        let values = uses.iter().map(|node| substitutes.get(node).cloned()).collect();
        (findings.into_sorted().into_iter().map(|found| found.message).collect(), values, secrets)
    }

    fn substitute(text: &str, relative_to_file: bool) -> Option<Substitute> {
        Some(Substitute { text: text.to_owned(), relative_to_file })
    }

    #[test]
    fn a_variable_is_its_value_or_its_default() {
        let text = "env: { SET: {}, A: { default: data/x.csv }, B: { default: out.db, relative_to: cwd }, N: { default: 4 } }\n\
                    sources: { s: { config: { use: [!env SET, !env A, !env B, !env N] } } }\n";
        let (found, values, _) = look(text, Path::new("."));
        assert_eq!(found, [""; 0]);
        let expected = [
            substitute("SET-from-outside", false),
            substitute("data/x.csv", true),
            substitute("out.db", false),
            substitute("4", true),
        ];
        assert_eq!(values, expected);
    }

    #[test]
    fn only_declared_names_are_read() {
        let (found, values, _) = look(
            "env: { SETT: {} }\nsources: { s: { config: { use: [!env SET, !env SETT, !secret SET, !enf SET, !env [SET]] } } }\n",
            Path::new("."),
        );
        let expected = [
            "`SET` is not declared under `env:`",
            "the environment variable SETT is not set, and `env:` gives it no default",
            "`SET` is not declared under `secrets:`",
            "there is no tag `!enf`",
            "`!env` is followed by a name, not by a list",
        ];
        assert_eq!(found, expected);
        assert_eq!(values, [None, None, None, None, None]);
    }

    #[test]
    fn a_secret_is_read_and_never_shown() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("token"), "s3cret\n").unwrap();
        let text = "secrets: { a: { from: env, key: TOKEN }, b: { from: file, key: token }, c: { from: file, key: none } }\n\
                    sources: { s: { config: { use: [!secret a, !secret b, !secret c] } } }\n";
        let (found, values, secrets) = look(text, folder.path());
        assert_eq!(found.len(), 1);
        assert!(found[0].starts_with("the secret `c` is kept in "), "{found:?}");
        assert_eq!(values, [substitute("TOKEN-from-outside", false), substitute("s3cret", false), None]);
        assert_eq!(secrets.redact("cannot log in with s3cret at h"), "cannot log in with *** at h");
        assert_eq!(format!("{secrets:?}"), "Secrets(2)");
    }

    #[test]
    fn a_secret_is_for_configs_only() {
        let (found, _, _) = look(
            "secrets: { a: { from: env, key: TOKEN } }\nname: !secret a\nsinks: { s: { type: !secret a } }\n",
            Path::new("."),
        );
        assert_eq!(
            found,
            ["a secret can only be used in a connector's `config`, because everything else is shown"; 2]
        );
    }

    #[test]
    fn a_name_cannot_be_declared_by_another() {
        let (found, _, _) = look("env: { A: { default: !env SET }, SET: {} }\n", Path::new("."));
        assert_eq!(found, ["`!env` cannot be used where names are declared"]);
    }
}
