//! A pipeline as it was handed in, and as it is kept.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::check::plugins::InstalledPlugins;
use crate::diagnostic::Diagnostic;
use crate::load::Pipeline;

/// A pipeline file and what it stands among, so that a server reads in it what its author meant.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Document {
    /// The file's whole path, from whose folder relative paths in it start.
    pub file: PathBuf,
    /// What is in it.
    pub text: String,
    /// Every variable under `env:` with its value where it was handed in; none where it was not set.
    pub env: BTreeMap<String, Option<String>>,
    /// Where paths that are `relative_to: cwd` start.
    pub working_dir: PathBuf,
}

impl Document {
    /// Checks and resolves it. Variables are those of the document; secrets are looked up in this process's environment and
    /// files, so that they are kept nowhere else. Blocking.
    ///
    /// # Errors
    /// Everything that is wrong.
    pub fn load(&self, installed: &InstalledPlugins) -> Result<Pipeline, Vec<Diagnostic>> {
        let environment = |name: &str| match self.env.get(name) {
            Some(value) => value.clone(),
            None => std::env::var(name).ok(),
        };
        Pipeline::from_text_in(&self.file, &self.text, &environment, Some(&self.working_dir), installed)
    }
}

/// What the topic of pipelines has under a pipeline's name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Kept {
    /// Counts what was applied under this name, from 1.
    pub revision: u64,
    pub document: Document,
    /// Transforms whose state and topic are still to be deleted before they start: an apply that was cut off goes on with them.
    #[serde(default)]
    pub replacing: Vec<String>,
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::resolve::Work;

    proptest! {
        #[test]
        fn what_is_kept_reads_back_as_it_was(
            revision in any::<u64>(),
            text in any::<String>(),
            env in prop::collection::btree_map("[A-Z]{1,5}", prop::option::of(any::<String>()), 0..4),
            replacing in prop::collection::vec("[a-z]{1,5}", 0..3),
        ) {
            let document = Document { file: "/p/pipeline.yaml".into(), text, env, working_dir: "/w".into() };
            let kept = Kept { revision, document, replacing };
            let written = serde_json::to_vec(&kept).unwrap();
            prop_assert_eq!(serde_json::from_slice::<Kept>(&written).unwrap(), kept);
        }
    }

    #[test]
    fn variables_are_the_documents_and_no_others() {
        let text = "version: ottla/v1\nname: p\nenv: { PATH: {} }\nschemas: { s: { a: int } }\n\
                    sources: { s: { type: file, config: { path: !env PATH, format: csv }, to: { topic: t, schema: s } } }\n";
        let document = |value: Option<&str>| Document {
            file: "/p/pipeline.yaml".into(),
            text: text.to_owned(),
            env: [("PATH".to_owned(), value.map(str::to_owned))].into(),
            working_dir: "/w".into(),
        };
        let pipeline = document(Some("given.csv")).load(&InstalledPlugins::default()).unwrap();
        let Work::Source { config, .. } = &pipeline.resolve().stages[0].work else { panic!("a source") };
        assert_eq!(config["path"], "/w/given.csv", "it starts where its author was");
        let found = document(None).load(&InstalledPlugins::default()).unwrap_err();
        assert!(found[0].message.contains("PATH is not set"), "{found:?}");
    }
}
