//! `ottla pipeline test --record`: a test of the last records of a cluster, into the file.

use std::collections::BTreeSet;
use std::io::Write;
use std::path::{Path, PathBuf};

use ottla_pipelines::{Pipeline, testing};
use serde_json::json;

use super::{checked, load};
use crate::cli::{ClusterArguments, HttpArguments, Output};
use crate::commands::connect;
use crate::commands::run::Embedded;
use crate::failure::Failure;
use crate::output::print_json;

/// What is to be recorded.
pub(super) struct Recording {
    pub file: PathBuf,
    pub name: Option<String>,
    /// Records of each topic.
    pub count: u16,
    /// All that transforms read and none writes, if there is none.
    pub topics: Vec<String>,
    pub http: HttpArguments,
    pub cluster: ClusterArguments,
}

pub(super) async fn run(recording: &Recording, output: Output) -> Result<(), Failure> {
    let file = recording.file.display();
    let pipeline = load(&recording.file, Some(&recording.http)).await?;
    let given = given(recording, &pipeline).await?;
    let name = free_name(recording, &pipeline, &given)?;
    let embedded = Embedded::start(None, "ottla-test").await?;
    let recorded = testing::expectation(&embedded.client, pipeline.resolve(), &name, given).await;
    embedded.shutdown().await?;
    let case =
        recorded.map_err(|reason| Failure::failed(format!("{file}: nothing is recorded: {reason}")))?;

    // Only a test that passes is one.
    let before = pipeline.text.clone();
    let written = testing::with_test(&before, &case);
    let tested = match &written {
        Some(text) => {
            checked(&recording.file, text.clone(), Some(&recording.http)).await?.map_err(|findings| {
                findings.iter().for_each(|finding| eprintln!("{finding}"));
                Failure::failed(format!(
                    "{file}: nothing is recorded: with the test, the file would be wrong"
                ))
            })?
        }
        None => pipeline,
    };
    let of_file = tested.tests.iter().find(|test| test.name == name);
    let embedded = Embedded::start(None, "ottla-test").await?;
    let findings = testing::run_case(&embedded.client, &tested, of_file.unwrap_or(&case)).await;
    embedded.shutdown().await?;
    if !findings.is_empty() {
        findings.iter().for_each(|finding| eprintln!("{finding}"));
        return Err(Failure::failed(format!(
            "{file}: nothing is recorded: the transforms gave other rows the second time"
        )));
    }
    let Some(text) = written else {
        print!("{}", testing::yaml_of(&case, "  "));
        eprintln!(
            "{file}: its `tests:` cannot be added to, as where they are not items one below the other, so the test is printed and not written there"
        );
        return Ok(());
    };
    replace(&recording.file, &before, &text)
        .map_err(|error| Failure::failed(format!("cannot write {file}: {error}")))?;
    let count = |side: &[testing::TopicRows]| {
        side.iter()
            .map(|rows| (rows.topic.clone(), json!(rows.rows.len())))
            .collect::<serde_json::Map<_, _>>()
    };
    if output == Output::Json {
        return Ok(print_json(
            &json!({ "file": recording.file, "test": name, "given": count(&case.given), "expect": count(&case.expect) }),
        )?);
    }
    println!("{file}: the test `{name}` is recorded");
    for (word, side) in [("given", &case.given), ("expect", &case.expect)] {
        side.iter().for_each(|rows| println!("  {word:<6} {}: {} rows", rows.topic, rows.rows.len()));
    }
    Ok(())
}

/// Puts a text in place of the one that was read, if it is still there: a file is edited while its tests run. What is written is
/// written beside it first, so that it is never half there.
fn replace(file: &Path, before: &str, text: &str) -> std::io::Result<()> {
    // Not over a link to it.
    let file = file.canonicalize()?;
    let folder = file.parent().unwrap_or(Path::new("/"));
    let mut beside = tempfile::NamedTempFile::new_in(folder)?;
    beside.write_all(text.as_bytes())?;
    beside.as_file().set_permissions(std::fs::metadata(&file)?.permissions())?;
    beside.as_file().sync_all()?;
    if std::fs::read(&file)? != before.as_bytes() {
        return Err(std::io::Error::other("it has changed since it was read; record again"));
    }
    beside.persist(&file)?;
    Ok(())
}

/// The last records of the topics.
async fn given(recording: &Recording, pipeline: &Pipeline) -> Result<Vec<testing::TopicRows>, Failure> {
    let resolved = pipeline.resolve();
    let topics = match recording.topics.is_empty() {
        true => testing::topics_to_give(resolved),
        false => recording.topics.iter().cloned().collect::<BTreeSet<_>>().into_iter().collect(),
    };
    let file = recording.file.display();
    if topics.is_empty() {
        return Err(Failure::wrong_words(format!(
            "{file}: it has no transforms, so there is nothing to test"
        )));
    }
    if let Some(other) = topics.iter().find(|topic| resolved.topics.iter().all(|known| known.name != **topic))
    {
        return Err(Failure::wrong_words(format!("{file}: the topic `{other}` is none of this pipeline's")));
    }
    let client = connect(&recording.cluster).await?;
    let mut given = Vec::new();
    for topic in &topics {
        let recorded = testing::last_rows(&client, resolved, topic, recording.count.into()).await;
        let recorded = recorded.map_err(Failure::failed)?;
        if recorded.left_out > 0 {
            eprintln!(
                "{} records of {topic} have no value and are left out: no row can stand for them",
                recorded.left_out
            );
        }
        given.push(recorded.rows);
    }
    match given.iter().all(|rows| rows.rows.is_empty()) {
        true => Err(Failure::failed(format!("there are no records in {}", topics.join(", ")))),
        false => Ok(given),
    }
}

/// What the test is called; no other of the file is.
fn free_name(
    recording: &Recording,
    pipeline: &Pipeline,
    given: &[testing::TopicRows],
) -> Result<String, Failure> {
    let is_taken = |name: &str| pipeline.tests.iter().any(|test| test.name == name);
    if let Some(name) = &recording.name {
        return match is_taken(name) {
            true => Err(Failure::wrong_words(format!(
                "{}: there is a test called `{name}` already; choose another with --name",
                recording.file.display()
            ))),
            false => Ok(name.clone()),
        };
    }
    let topics: Vec<&str> = given.iter().map(|rows| rows.topic.as_str()).collect();
    let name = format!("the last {} records of {}", recording.count, topics.join(" and "));
    let numbered = (2..).map(|number| format!("{name} - {number}"));
    Ok(std::iter::once(name.clone()).chain(numbered).find(|name| !is_taken(name)).unwrap_or(name))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use ottla_client::{NewTopic, ProducerConfig, Record};

    use super::*;

    #[tokio::test(flavor = "multi_thread")]
    async fn a_transaction_that_is_open_is_not_waited_for() {
        let embedded = Embedded::start(None, "ottla-test").await.unwrap();
        let client = &embedded.client;
        client.admin().create_topics(&[NewTopic::new("raw", 1)]).await.unwrap();
        let config = ProducerConfig { transactional_id: Some("open".to_owned()), ..Default::default() };
        let producer = client.producer(config).await.unwrap();
        producer.init_transactions().await.unwrap();
        for value in ["first", "second"] {
            producer.begin_transaction().unwrap();
            producer.send("raw", Some(0), Record::new("k", value)).await.unwrap().await.unwrap();
            producer.commit_transaction().await.unwrap();
        }
        producer.begin_transaction().unwrap();
        producer.send("raw", Some(0), Record::new("k", "third")).await.unwrap().await.unwrap();
        let text = "version: ottla/v1\nname: p\ntopics: { raw: {} }\n";
        let pipeline = Pipeline::from_text(Path::new("p.yaml"), text, &|_| None).unwrap();
        for (count, expected) in [(1, vec!["second"]), (9, vec!["first", "second"])] {
            let recorded = testing::last_rows(client, pipeline.resolve(), "raw", count);
            // The broker would end the transaction after a minute.
            let recorded =
                tokio::time::timeout(Duration::from_secs(30), recorded).await.expect("it waits").unwrap();
            let rows: Vec<&str> = recorded.rows.rows.iter().filter_map(|row| row.value.as_str()).collect();
            assert_eq!(rows, expected);
        }
        producer.abort_transaction().await.unwrap();
        drop(producer);
        embedded.shutdown().await.unwrap();
    }

    #[test]
    fn a_file_that_has_changed_meanwhile_is_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        let (file, link) = (folder.path().join("p.yaml"), folder.path().join("link.yaml"));
        let now = || std::fs::read_to_string(&file).unwrap();
        std::fs::write(&file, "edited\n").unwrap();
        std::os::unix::fs::symlink("p.yaml", &link).unwrap();
        let error = replace(&link, "read\n", "recorded\n").unwrap_err();
        assert!(error.to_string().contains("it has changed since it was read"), "{error}");
        assert_eq!(now(), "edited\n");
        replace(&link, "edited\n", "recorded\n").unwrap();
        assert_eq!((now().as_str(), link.is_symlink()), ("recorded\n", true));
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 2, "nothing else is left there");
    }
}
