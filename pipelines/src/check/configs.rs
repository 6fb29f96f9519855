//! Connectors' own settings, checked against each connector's struct.

use std::collections::BTreeMap;
use std::path::Path;

use ottla_connect::{ConnectorKind, ConnectorType, connector_type};
use serde_json::Value as Json;

use crate::check::graph::{Graph, Stage, StageKind};
use crate::check::shape::{self, Substitutes};
use crate::check::values::{Secrets, starts_at_file};
use crate::diagnostic::{Findings, suggestion};
use crate::yaml::{Node, PathStep, Value};

/// Right configs by stage, with all values in place: secrets too, so they are never printed.
pub type Configs = BTreeMap<String, Json>;

/// Checks the config of every source and sink.
pub fn check(
    graph: &Graph<'_>,
    folders: Folders<'_>,
    substitutes: &Substitutes,
    secrets: &Secrets,
    findings: &mut Findings,
) -> Configs {
    let mut configs = Configs::new();
    for stage in &graph.stages {
        let kind = match stage.kind {
            StageKind::Source => ConnectorKind::Source,
            StageKind::Sink => ConnectorKind::Sink,
            StageKind::Transform => continue,
        };
        let Some(connector) = connector_of(kind, stage, findings) else { continue };
        if let Some(config) = check_one(connector, stage, folders, substitutes, secrets, findings) {
            configs.insert(stage.name.name.clone(), config);
        }
    }
    configs
}

fn connector_of(
    kind: ConnectorKind,
    stage: &Stage<'_>,
    findings: &mut Findings,
) -> Option<&'static ConnectorType> {
    let node = stage.node.get("type")?;
    let name = node.text()?;
    connector_type(kind, name)
        .map_err(|_| {
            let names = ottla_connect::connector_types()
                .iter()
                .filter(|known| known.kind() == kind)
                .map(|known| known.name);
            let message = format!("there is no {} of type `{name}`", kind.word());
            findings.error_maybe_help(node.at, message, suggestion(name, names));
        })
        .ok()
}

fn check_one(
    connector: &ConnectorType,
    stage: &Stage<'_>,
    folders: Folders<'_>,
    substitutes: &Substitutes,
    secrets: &Secrets,
    findings: &mut Findings,
) -> Option<Json> {
    let empty = Node { at: stage.name.at, tag: None, value: Value::Map(Vec::new()) };
    let node = stage.node.get("config").unwrap_or(&empty);
    let what = format!("the config of `{}`", stage.name.name);
    let before = findings.count();
    let mut config = shape::check(node, &connector.config_schema(), &what, substitutes, findings);
    if findings.count() > before {
        return None;
    }
    for entry in node.entries() {
        let Some(Json::String(path)) = config.get_mut(&entry.key) else { continue };
        // A URL may be a folder of this machine.
        let is_path = match entry.key.as_str() {
            PATH_FIELD => true,
            URL_FIELD => path.starts_with("./") || path.starts_with("../"),
            _ => false,
        };
        let start = match starts_at_file(&entry.value, substitutes) {
            true => Some(folders.file),
            false => folders.working_dir,
        };
        if let (true, Some(start)) = (is_path, start) {
            *path = start.join(&*path).to_string_lossy().into_owned();
        }
    }
    let faults = connector.validate(&config);
    for fault in &faults {
        let path = fault.field.split('.').filter(|step| !step.is_empty()).map(PathStep::Key);
        let message = format!("{what}: {}", secrets.redact(&fault.to_string()));
        findings.error(node.nearest(path).at, message);
    }
    faults.is_empty().then_some(config)
}

/// The field that all connectors call their file by. A relative path in it starts at the pipeline's folder.
const PATH_FIELD: &str = "path";
/// The field in which a connector may take a folder of this machine, written `./FOLDER`.
const URL_FIELD: &str = "url";

/// Where relative paths start.
#[derive(Clone, Copy, Debug)]
pub struct Folders<'a> {
    /// Those of the file.
    pub file: &'a Path,
    /// Those of whoever runs it; without it they stay as they are.
    pub working_dir: Option<&'a Path>,
}
