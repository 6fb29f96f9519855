//! From a path to a checked pipeline: every check in turn over one tree, and all findings together.

use std::path::{Path, PathBuf};

use serde::Deserialize;

use crate::check::configs::Folders;
use crate::check::graph::Graph;
use crate::check::plugins::InstalledPlugins;
use crate::check::values::Environment;
use crate::check::{configs, functions, plugins, schemas, shape, sql, tests_section, values, wiring};
use crate::diagnostic::{Diagnostic, Findings, Position};
use crate::resolve::{self, ResolvedPipeline};
use crate::spec::Spec;
use crate::testing::TestCase;
use crate::yaml;

/// A pipeline file in which nothing is wrong.
#[derive(Debug)]
pub struct Pipeline {
    /// The file it was read from.
    pub file: PathBuf,
    pub spec: Spec,
    /// The tests of the file, in its order.
    pub tests: Vec<TestCase>,
    /// The file itself, to point into it.
    pub text: String,
    /// What its author should know, though it runs.
    pub warnings: Vec<Diagnostic>,
    resolved: ResolvedPipeline,
}

impl Pipeline {
    /// Reads and checks a file. `environment` looks up the variables that the file declares, and no others.
    ///
    /// Blocking: it reads files and may compile plugins.
    ///
    /// # Errors
    /// Everything that is wrong, in the order of the file; warnings are among them.
    pub fn load(path: &Path, environment: &Environment<'_>) -> Result<Pipeline, Vec<Diagnostic>> {
        Self::from_text(path, &Self::read(path)?, environment)
    }

    /// The text of a file.
    ///
    /// # Errors
    /// That it cannot be read.
    pub fn read(path: &Path) -> Result<String, Vec<Diagnostic>> {
        let unreadable = |reason: String, help: &str| {
            let mut findings = Findings::new(path, "");
            findings.file_error(reason, Some(help.to_owned()));
            findings.into_sorted()
        };
        let bytes = std::fs::read(path).map_err(|reason| {
            unreadable(format!("cannot read it: {reason}"), "give the path of a pipeline file")
        })?;
        String::from_utf8(bytes).map_err(|_| unreadable("it is not UTF-8".to_owned(), "save it as UTF-8"))
    }

    /// [`Pipeline::load`] of a text that stands for the file at `path`: relative paths start at its folder.
    pub fn from_text(
        path: &Path,
        text: &str,
        environment: &Environment<'_>,
    ) -> Result<Pipeline, Vec<Diagnostic>> {
        Self::from_text_in(path, text, environment, None, &InstalledPlugins::default())
    }

    /// [`Pipeline::from_text`], with the folder in which the working directory's relative paths start, and with the plugins
    /// that the server has.
    pub fn from_text_in(
        path: &Path,
        text: &str,
        environment: &Environment<'_>,
        working_dir: Option<&Path>,
        installed: &InstalledPlugins,
    ) -> Result<Pipeline, Vec<Diagnostic>> {
        let mut findings = Findings::new(path, text);
        let folders = Folders { file: path.parent().unwrap_or(Path::new("")), working_dir };
        match check(folders, text, environment, installed, &mut findings) {
            Some((spec, resolved, tests)) if !findings.has_errors() => Ok(Pipeline {
                file: path.to_owned(),
                spec,
                tests,
                text: text.to_owned(),
                warnings: findings.into_sorted(),
                resolved,
            }),
            _ => Err(findings.into_sorted()),
        }
    }

    /// What runs, with every default and value in place.
    pub fn resolve(&self) -> &ResolvedPipeline {
        &self.resolved
    }
}

/// Everything that can be said about a file: errors and warnings, none if it is right.
pub fn validate(path: &Path, environment: &Environment<'_>) -> Vec<Diagnostic> {
    match Pipeline::load(path, environment) {
        Ok(pipeline) => pipeline.warnings,
        Err(findings) => findings,
    }
}

/// The variables that a text declares under `env:`; none of a text that is no YAML.
pub fn declared_variables(text: &str) -> Vec<String> {
    let root = yaml::parse(text).ok();
    let variables =
        root.as_ref().and_then(|root| root.get("env")).map(yaml::Node::entries).unwrap_or_default();
    variables.iter().map(|entry| entry.key.clone()).collect()
}

/// The plugins that a text names without a path, so that they must be installed; none of a text that is no YAML.
pub fn installed_plugins_named(text: &str) -> Vec<String> {
    let root = yaml::parse(text).ok();
    let entries =
        root.as_ref().and_then(|root| root.get("plugins")).map(yaml::Node::entries).unwrap_or_default();
    let without_path = entries.iter().filter(|entry| plugins::path_given(&entry.value).is_none());
    without_path.map(|entry| entry.key.clone()).collect()
}

/// The JSON Schema of pipeline files, for editors. Each connector's config is described under its type.
pub fn json_schema() -> serde_json::Value {
    let mut schema = schemars::schema_for!(Spec).to_value();
    for connector in ottla_connect::connector_types() {
        let stage = match connector.kind() {
            ottla_connect::ConnectorKind::Source => "SourceSpec",
            ottla_connect::ConnectorKind::Sink => "SinkSpec",
        };
        let Some(stage) =
            schema.pointer_mut(&format!("/$defs/{stage}")).and_then(serde_json::Value::as_object_mut)
        else {
            continue;
        };
        let rule = serde_json::json!({
            "if": { "properties": { "type": { "const": connector.name } } },
            "then": { "properties": { "config": connector.config_schema() } },
        });
        if let Some(rules) = stage.entry("allOf").or_insert_with(|| serde_json::json!([])).as_array_mut() {
            rules.push(rule);
        }
    }
    schema
}

/// All checks. What they find is in `findings`; the rest is there when enough is right to have it.
fn check(
    folders: Folders<'_>,
    text: &str,
    environment: &Environment<'_>,
    installed: &InstalledPlugins,
    findings: &mut Findings,
) -> Option<(Spec, ResolvedPipeline, Vec<TestCase>)> {
    let folder = folders.file;
    let root = match yaml::parse(text) {
        Ok(root) => root,
        Err(yaml::NotYaml { at: Some(at), reason }) => {
            findings.error(at, reason);
            return None;
        }
        Err(yaml::NotYaml { at: None, reason }) => {
            findings.file_error(reason, None);
            return None;
        }
    };
    let (substitutes, secrets) = values::look_up(&root, folder, environment, findings);
    let schema = schemars::schema_for!(Spec).to_value();
    let value = shape::check(&root, &schema, "this pipeline", &substitutes, findings);
    let graph = Graph::of(&root, &sql::topics_read);
    let schemas = schemas::read(&root, findings);
    wiring::check(&root, &graph, &schemas, findings);
    let configs = configs::check(&graph, folders, &substitutes, &secrets, findings);
    let plugins = plugins::load(&root, folder, installed, &substitutes, findings);
    let functions = functions::load(&root, &plugins, findings);
    let plans = sql::plan_all(&root, &graph, &schemas, &functions, text, findings);
    let tests = tests_section::check(&root, &graph, &schemas, &plans, &substitutes, findings);
    if findings.has_errors() {
        return None;
    }
    // The shape is right, so reading the value fails only where a struct asks for more than its schema says.
    let mut spec = Spec::deserialize(value)
        .map_err(|reason| findings.error(Position { line: 1, column: 1 }, reason.to_string()))
        .ok()?;
    // What the connectors get is in `configs`; the file's words may be shown.
    spec.sources.values_mut().for_each(|source| secrets.redact_json(&mut source.config));
    spec.sinks.values_mut().for_each(|sink| secrets.redact_json(&mut sink.config));
    let parts =
        resolve::Parts { spec: &spec, graph: &graph, schemas: &schemas, configs, plugins, plans, secrets };
    let resolved = resolve::resolve(parts);
    // Whatever the checks have let through: a stage that is left out would be missed by nobody.
    for stage in &graph.stages {
        if resolved.stages.iter().all(|other| other.name != stage.name.name) {
            let message =
                format!("the {} `{}` says nothing that could run", stage.kind.word(), stage.name.name);
            findings.error_with_help(stage.name.at, message, "give each of its words a value");
        }
    }
    Some((spec, resolved, tests))
}

#[cfg(test)]
mod tests;
