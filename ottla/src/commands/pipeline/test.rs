//! `ottla pipeline test`: each test of a file in an embedded broker of its own.

use std::path::Path;

use ottla_pipelines::testing;
use serde_json::json;

use super::{finding_json, load};
use crate::cli::{HttpArguments, Output};
use crate::commands::run::Embedded;
use crate::failure::Failure;
use crate::output::print_json;

pub(super) async fn run(
    file: &Path,
    name: Option<&str>,
    output: Output,
    http: &HttpArguments,
) -> Result<(), Failure> {
    let pipeline = load(file, Some(http)).await?;
    let is_meant = |test: &&testing::TestCase| name.is_none_or(|name| test.name.contains(name));
    let cases: Vec<&testing::TestCase> = pipeline.tests.iter().filter(is_meant).collect();
    if let (true, Some(name)) = (cases.is_empty(), name) {
        return Err(Failure::wrong_words(format!("{}: no test has {name:?} in its name", file.display())));
    }
    let mut failed = 0;
    let mut results = Vec::new();
    for case in &cases {
        let embedded = Embedded::start(None, "ottla-test").await?;
        let findings = testing::run_case(&embedded.client, &pipeline, case).await;
        embedded.shutdown().await?;
        failed += usize::from(!findings.is_empty());
        if output == Output::Json {
            let told: Vec<_> = findings.iter().map(finding_json).collect();
            results.push(json!({ "test": case.name, "passed": findings.is_empty(), "findings": told }));
            continue;
        }
        println!("{:<7} {}", if findings.is_empty() { "ok" } else { "FAILED" }, case.name);
        findings.iter().for_each(|finding| eprintln!("{finding}"));
    }
    if output == Output::Json {
        print_json(
            &json!({ "file": file, "pipeline": pipeline.spec.name, "failed": failed, "tests": results }),
        )?;
    } else {
        println!("{}: {} passed, {failed} failed", pipeline.spec.name, cases.len() - failed);
    }
    match failed {
        0 => Ok(()),
        _ => Err(Failure::failed(format!("{}: {failed} of {} tests failed", file.display(), cases.len()))),
    }
}
