//! Following files that are rotated, with real files.

use std::fs::{self, OpenOptions};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use arrow::array::AsArray as _;
use arrow::datatypes::Int64Type;
use ottla_formats::schema_of;
use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};
use serde_json::json;

use super::config::FileSourceConfig;
use crate::connector::{Rows, Source, SourceContext, SourceOffset};
use crate::error::ConnectorError;
use crate::registry::SourceConfig as _;

/// A log in a folder of its own.
struct Log {
    folder: tempfile::TempDir,
    format: &'static str,
}

/// A source that follows it.
struct Follower {
    source: Box<dyn Source>,
    read: Vec<i64>,
    resume: Option<SourceOffset>,
}

impl Log {
    fn new(format: &'static str, text: &str) -> Self {
        let log = Self { folder: tempfile::tempdir().unwrap(), format };
        fs::write(log.path(), text).unwrap();
        log
    }

    fn path(&self) -> PathBuf {
        self.named("in.log")
    }

    fn named(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn open(
        &self,
        more: serde_json::Value,
        offset: Option<SourceOffset>,
    ) -> Result<Follower, ConnectorError> {
        let mut config =
            json!({"path": self.path(), "format": self.format, "poll_interval_ms": 1, "rotate_wait_ms": 20});
        config.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        let config: FileSourceConfig = serde_json::from_value(config).unwrap();
        let schema = Some(schema_of([("n", "int")]).unwrap());
        let source = config.open(SourceContext { name: "in".to_owned(), schema, offset: offset.clone() })?;
        Ok(Follower { source, read: Vec::new(), resume: offset })
    }

    fn follow(&self, offset: Option<SourceOffset>) -> Follower {
        self.open(json!({}), offset).unwrap()
    }

    /// Gives the files other names, as logrotate does: `in.log.1` becomes `in.log.2`.
    fn shift(&self) {
        for number in (1..9).rev() {
            let (from, to) = (format!("in.log.{number}"), format!("in.log.{}", number + 1));
            if self.named(&from).exists() {
                fs::rename(self.named(&from), self.named(&to)).unwrap();
            }
        }
    }

    /// logrotate's `create`.
    fn rotate(&self, text: &str) {
        self.shift();
        fs::rename(self.path(), self.named("in.log.1")).unwrap();
        fs::write(self.path(), text).unwrap();
    }

    /// logrotate's `copytruncate`.
    fn copy_and_truncate(&self, text: &str) {
        self.shift();
        fs::copy(self.path(), self.named("in.log.1")).unwrap();
        OpenOptions::new().write(true).open(self.path()).unwrap().set_len(0).unwrap();
        append(&self.path(), text);
    }
}

impl Follower {
    /// Reads until it has so many.
    async fn read_to(&mut self, count: usize) -> &[i64] {
        while self.read.len() < count {
            let polled = tokio::time::timeout(Duration::from_secs(60), self.source.poll()).await;
            let batch = polled.unwrap_or_else(|_| panic!("only {:?} are read", self.read)).unwrap().unwrap();
            assert_eq!(batch.bad, []);
            let mut last = self.resume.as_ref().map_or(0, |resume| resume.position);
            for position in &batch.positions {
                assert!(*position > last, "{position} comes after {last}");
                last = *position;
            }
            assert!(batch.resume.position >= last);
            let Rows::Arrow(rows) = &batch.rows else { panic!("a file gives columns") };
            self.read.extend(rows.column(0).as_primitive::<Int64Type>().values());
            self.resume = Some(batch.resume);
        }
        &self.read
    }

    /// Where another may go on, as it is stored.
    fn resume(&self) -> Option<SourceOffset> {
        let text = serde_json::to_string(self.resume.as_ref().unwrap()).unwrap();
        Some(serde_json::from_str(&text).unwrap())
    }
}

fn append(path: &Path, text: &str) {
    OpenOptions::new().append(true).open(path).unwrap().write_all(text.as_bytes()).unwrap();
}

fn line(number: i64) -> String {
    format!("{{\"n\":{number}}}\n")
}

fn lines(numbers: impl IntoIterator<Item = i64>) -> String {
    numbers.into_iter().map(line).collect()
}

#[tokio::test]
async fn a_file_that_is_renamed_is_read_to_its_end_and_then_the_new_one() {
    let log = Log::new("json", &lines([1, 2]));
    let mut follower = log.follow(None);
    follower.read_to(2).await;
    log.rotate("");
    // Who writes has the old file open for a while, and its last line has no end.
    append(&log.named("in.log.1"), &line(3));
    assert_eq!(follower.read_to(3).await, [1, 2, 3]);
    append(&log.named("in.log.1"), "{\"n\":4}");
    append(&log.path(), &lines([5, 6]));
    assert_eq!(follower.read_to(6).await, [1, 2, 3, 4, 5, 6]);
    log.rotate(&line(7));
    assert_eq!(follower.read_to(7).await.last(), Some(&7));

    // It is still open when its name is gone.
    append(&log.path(), &line(8));
    fs::remove_file(log.path()).unwrap();
    fs::write(log.path(), line(9)).unwrap();
    assert_eq!(follower.read_to(9).await[7..], [8, 9]);
}

#[tokio::test]
async fn a_restart_after_a_rotation_finds_the_old_file_and_all_since() {
    let log = Log::new("json", &lines([1, 2]));
    let mut first = log.follow(None);
    first.read_to(2).await;
    let resume = first.resume();
    drop(first);
    append(&log.path(), &line(3));
    log.rotate(&line(4));
    assert_eq!(log.follow(resume.clone()).read_to(2).await, [3, 4]);
    // Files that nobody has read, an empty one among them.
    log.rotate("");
    log.rotate(&lines([5, 6]));
    let mut later = log.follow(resume.clone());
    assert_eq!(later.read_to(4).await, [3, 4, 5, 6]);
    let resume_at_end = later.resume();
    append(&log.path(), &line(7));
    assert_eq!(log.follow(resume_at_end).read_to(1).await, [7]);

    // Under a name that is not logrotate's it is known by its inode.
    fs::rename(log.named("in.log.3"), log.named("old")).unwrap();
    assert_eq!(log.follow(resume.clone()).read_to(1).await[0], 3);
    // When it is gone, what has its name is read from the start, and nothing is doubled.
    fs::remove_file(log.named("old")).unwrap();
    assert_eq!(log.follow(resume).read_to(3).await, [5, 6, 7]);
}

#[tokio::test]
async fn a_file_that_is_copied_and_truncated_is_read_to_the_end_of_the_copy() {
    let log = Log::new("json", &lines([1, 2]));
    let mut follower = log.follow(None);
    follower.read_to(2).await;
    let resume = follower.resume();
    append(&log.path(), &lines([3, 4]));
    log.copy_and_truncate(&line(5));
    assert_eq!(follower.read_to(5).await, [1, 2, 3, 4, 5]);
    // Longer than before already, so that only its bytes tell.
    log.copy_and_truncate(&lines(6..40));
    assert_eq!(follower.read_to(39).await[4..], (5..40).collect::<Vec<_>>());
    assert_eq!(log.follow(resume).read_to(37).await, (3..40).collect::<Vec<_>>());

    // Copied, then renamed, before anybody looked.
    let resume = follower.resume();
    drop(follower);
    append(&log.path(), &line(40));
    log.copy_and_truncate(&lines(41..90));
    log.rotate(&line(90));
    assert_eq!(log.follow(resume).read_to(51).await, (40..91).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_file_that_is_truncated_without_a_copy_is_read_from_its_start() {
    let log = Log::new("json", &lines(1..50));
    let mut follower = log.follow(None);
    follower.read_to(49).await;
    let resume = follower.resume();
    fs::write(log.path(), line(50)).unwrap();
    assert_eq!(follower.read_to(50).await[48..], [49, 50]);
    append(&log.path(), &line(51));
    assert_eq!(follower.read_to(51).await[49..], [50, 51]);
    assert_eq!(log.follow(resume.clone()).read_to(2).await, [50, 51]);

    // A source that ends at the end of the file does not guess.
    let bounded = |offset| log.open(json!({"poll_interval_ms": null}), offset);
    let error = bounded(resume.clone()).err().unwrap().to_string();
    assert!(error.contains("it was shortened since it was read"), "{error}");
    fs::write(log.path(), lines(100..200)).unwrap();
    let error = bounded(resume).err().unwrap().to_string();
    assert!(error.contains("it was replaced"), "{error}");
}

#[tokio::test]
async fn a_file_that_is_written_anew_with_what_it_had_goes_on() {
    let log = Log::new("json", &lines([1, 2]));
    let mut follower = log.follow(None);
    follower.read_to(2).await;
    let resume = follower.resume();
    fs::write(log.named("new"), lines([1, 2, 3])).unwrap();
    fs::rename(log.named("new"), log.path()).unwrap();
    assert_eq!(follower.read_to(3).await, [1, 2, 3]);
    assert_eq!(log.follow(resume).read_to(1).await, [3]);
}

#[tokio::test]
async fn each_file_has_a_header_of_its_own() {
    let log = Log::new("csv", "n,m\n1,x\n");
    let mut follower = log.follow(None);
    follower.read_to(1).await;
    let resume = follower.resume();
    append(&log.path(), "2,x\n");
    log.rotate("m,");
    append(&log.path(), "n\nx,3\n");
    assert_eq!(follower.read_to(3).await, [1, 2, 3]);
    assert_eq!(log.follow(resume).read_to(2).await, [2, 3]);
}

#[tokio::test]
async fn offsets_of_an_earlier_version_are_read() {
    let log = Log::new("json", &lines([1, 2]));
    let mut follower = log.follow(None);
    follower.read_to(2).await;
    let mut resume = follower.resume().unwrap();
    resume.state.retain(|field, _| ["line", "fingerprint", "fingerprint_bytes"].contains(&field.as_str()));
    append(&log.path(), &line(3));
    assert_eq!(log.follow(Some(resume.clone())).read_to(1).await, [3]);
    log.rotate(&line(4));
    assert_eq!(log.follow(Some(resume)).read_to(2).await, [3, 4]);
}

#[tokio::test]
async fn a_name_that_is_gone_for_a_moment_is_waited_for() {
    let log = Log::new("json", &line(1));
    let mut follower = log.follow(None);
    follower.read_to(1).await;
    let resume = follower.resume();
    fs::remove_file(log.path()).unwrap();
    let error = log.open(json!({}), resume).err().unwrap();
    assert!(error.retriable && error.to_string().contains("create the file"), "{error}");
    fs::write(log.path(), lines([2])).unwrap();
    assert_eq!(follower.read_to(2).await, [1, 2]);
}

#[tokio::test]
async fn whatever_is_rotated_when_each_line_is_read_once_and_in_order() {
    for _ in 0..8 {
        let seed: u64 = rand::random();
        println!("seed {seed}");
        let mut chance = StdRng::seed_from_u64(seed);
        let log = Log::new("json", &line(0));
        let mut follower = log.open(json!({"rotate_wait_ms": 2}), None).unwrap();
        follower.read_to(1).await;
        let (mut written, mut read, mut rotated) = (1, 0, 0);
        while written < 400 {
            let more = chance.random_range(0..20);
            append(&log.path(), &lines(written..written + more));
            written += more;
            match chance.random_range(0..6) {
                // As many as are kept.
                0 if rotated < 7 => log.rotate(""),
                1 if rotated < 7 && more > 0 => log.copy_and_truncate(""),
                2 => tokio::time::sleep(Duration::from_millis(chance.random_range(0..8))).await,
                3 => {
                    let count = usize::try_from(written).unwrap() - read;
                    follower.read_to(count).await;
                    rotated = 0;
                    continue;
                }
                4 if follower.resume.is_some() => {
                    read += follower.read.len();
                    let expected: Vec<i64> = (0..).take(read).skip(read - follower.read.len()).collect();
                    assert_eq!(follower.read, expected);
                    let resume = follower.resume();
                    drop(follower);
                    follower = log.open(json!({"rotate_wait_ms": 2}), resume).unwrap();
                    continue;
                }
                _ => continue,
            }
            rotated += 1;
        }
        let count = usize::try_from(written).unwrap() - read;
        let expected: Vec<i64> = (0..written).skip(read).collect();
        assert_eq!(follower.read_to(count).await, expected);
    }
}
