//! Running the `tests:` of a file: its rows into the topics, the transforms over them until all windows are closed, and
//! what is in the topics then against what the file expects.
//!
//! Sources and sinks do not run. A transform whose output is given does not run either, so a test may begin in the middle.
//! Each case needs a cluster of its own, with none of the pipeline's topics in it.
//!
//! | file | owns | pure |
//! |---|---|---|
//! | `compare.rs` | rows against what was expected of them | yes |
//! | `topics.rs` | rows into topics, and what topics hold in the end | |
//! | `record.rs` | a test made of the last records of topics | |
//! | `write.rs` | a test as YAML, and into a file | yes |
//! | `mod.rs` | a case from begin to end | |

mod compare;
mod record;
mod topics;
mod write;

use ottla_client::Client;
use serde_json::Value as Json;

use crate::diagnostic::{Diagnostic, Findings, Position};
use crate::load::Pipeline;
use crate::resolve::{ResolvedPipeline, Work};
use crate::run::{Outcome, OutsideTopics, run};

pub use record::{Recorded, expectation, last_rows, topics_to_give};
pub use write::{with_test, yaml_of};

/// A test of a file.
#[derive(Clone, Debug, PartialEq)]
pub struct TestCase {
    pub name: String,
    pub at: Position,
    pub given: Vec<TopicRows>,
    pub expect: Vec<TopicRows>,
    /// Whether the order of the rows matters.
    pub ordered: bool,
}

/// Rows of a topic.
#[derive(Clone, Debug, PartialEq)]
pub struct TopicRows {
    pub topic: String,
    pub at: Position,
    pub rows: Vec<TestRow>,
}

/// A row: an object of its columns, or a text that is the record's value as it is.
#[derive(Clone, Debug, PartialEq)]
pub struct TestRow {
    pub at: Position,
    pub value: Json,
}

/// Something that is not as the file expects.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Mismatch {
    at: Position,
    message: String,
    help: Option<String>,
}

/// Runs one case of a pipeline. Empty when all is as expected, else what is not, each with its place in the file.
pub async fn run_case(client: &Client, pipeline: &Pipeline, case: &TestCase) -> Vec<Diagnostic> {
    let mut findings = Findings::new(&pipeline.file, &pipeline.text);
    match mismatches(client, pipeline.resolve(), case).await {
        Ok(mismatches) => {
            for mismatch in mismatches {
                findings.error_maybe_help(mismatch.at, mismatch.message, mismatch.help);
            }
        }
        Err(reason) => findings.error(case.at, format!("the test could not be run: {reason}")),
    }
    findings.into_sorted()
}

async fn mismatches(
    client: &Client,
    pipeline: &ResolvedPipeline,
    case: &TestCase,
) -> Result<Vec<Mismatch>, String> {
    let transforms = transforms_of(pipeline, case);
    run_transforms(client, &transforms, case).await?;
    let mut mismatches = Vec::new();
    for expected in &case.expect {
        let found = topics::rows(client, &transforms, &expected.topic).await?;
        mismatches.extend(compare::compare(expected, &found, case.ordered));
    }
    Ok(mismatches)
}

/// Gives the rows of the case, and runs the transforms until there is nothing left to read.
async fn run_transforms(
    client: &Client,
    transforms: &ResolvedPipeline,
    case: &TestCase,
) -> Result<(), String> {
    topics::make(client, transforms).await?;
    for given in &case.given {
        topics::give(client, transforms, given).await?;
    }
    let summary = run(client, transforms, OutsideTopics::End, &mut |_| {}, std::future::pending()).await;
    match summary.outcome {
        Outcome::Failed { .. } => Err(summary.outcome.to_string()),
        Outcome::Drained | Outcome::Stopped => Ok(()),
    }
}

/// The transforms that the case is about, over topics of one partition: rows are then read in the order of the file.
fn transforms_of(pipeline: &ResolvedPipeline, case: &TestCase) -> ResolvedPipeline {
    let is_given = |topic: &String| case.given.iter().any(|given| given.topic == *topic);
    let is_run: Vec<bool> = pipeline
        .stages
        .iter()
        .map(|stage| {
            matches!(stage.work, Work::Query { .. } | Work::Plugin { .. })
                && !stage.output.as_ref().is_some_and(is_given)
        })
        .collect();
    // Where each stage that runs has gone.
    let place = |index: usize| is_run.iter().take(index).filter(|runs| **runs).count();
    let mut transforms = pipeline.clone();
    transforms.stages = Vec::new();
    for (stage, _) in pipeline.stages.iter().zip(&is_run).filter(|(_, runs)| **runs) {
        let mut stage = stage.clone();
        stage.upstreams.retain(|upstream| is_run.get(*upstream) == Some(&true));
        stage.upstreams.iter_mut().for_each(|upstream| *upstream = place(*upstream));
        transforms.stages.push(stage);
    }
    transforms.topics.iter_mut().for_each(|topic| topic.partitions = 1);
    transforms
}
