//! The flights pipeline end to end, as a user runs it: the answer equals a batch query over the same file, after kills
//! too, and bad input is told apart from good.

mod support;

use std::fs;
use std::path::Path;
use std::process::Output;
use std::time::Duration;

use support::{Random, Running, expected, flights_pipeline, january, ottla, result, text};

fn run(csv: &Path, database: &Path, data_dir: Option<&Path>) -> Output {
    let mut command = ottla();
    command.arg("run").arg(flights_pipeline()).env("FLIGHTS_CSV", csv).env("OUT_DB", database);
    if let Some(data_dir) = data_dir {
        command.arg("--data-dir").arg(data_dir);
    }
    command.output().expect("the binary runs")
}

#[test]
fn january_equals_a_batch_query_and_running_again_changes_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let database = dir.path().join("out.db");
    let expected = expected(&fs::read_to_string(january()).unwrap());
    assert!(expected.len() > 1000);
    for _ in 0..2 {
        let output = run(&january(), &database, None);
        assert!(output.status.success(), "{}", text(&output));
        assert!(text(&output).contains("27004") || text(&output).contains("27,004"), "{}", text(&output));
        assert_eq!(result(&database), expected);
    }
}

#[test]
fn killed_at_any_moment_and_started_again_it_loses_and_doubles_nothing() {
    let seed = std::env::var("OTTLA_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(20_130_101);
    println!("OTTLA_SEED={seed}");
    let mut random = Random(seed);
    let expected = expected(&fs::read_to_string(january()).unwrap());
    let dir = tempfile::tempdir().unwrap();
    let (database, data_dir) = (dir.path().join("out.db"), dir.path().join("data"));
    for _ in 0..8 {
        let mut command = ottla();
        command.arg("run").arg(flights_pipeline()).arg("--data-dir").arg(&data_dir);
        command.env("FLIGHTS_CSV", january()).env("OUT_DB", &database);
        command.stdout(std::process::Stdio::null()).stderr(std::process::Stdio::null());
        let mut running = Running(command.spawn().expect("the binary runs"));
        std::thread::sleep(Duration::from_millis(50 + random.below(2500)));
        running.kill();
    }
    let output = run(&january(), &database, Some(&data_dir));
    assert!(output.status.success(), "{}", text(&output));
    assert_eq!(result(&database), expected);
}

#[test]
fn a_malformed_row_is_dead_lettered_with_its_line_and_counted() {
    let dir = tempfile::tempdir().unwrap();
    let (csv, database, data_dir) =
        (dir.path().join("flights.csv"), dir.path().join("out.db"), dir.path().join("data"));
    let mut lines: Vec<String> =
        fs::read_to_string(january()).unwrap().lines().take(200).map(str::to_owned).collect();
    let good = lines.join("\n");
    lines.insert(100, "2013,1,1,too,few,fields".to_owned());
    lines.insert(150, lines[1].replace("2013-01-01T10:00:00Z", "not a time"));
    fs::write(&csv, lines.join("\n")).unwrap();
    let output = run(&csv, &database, Some(&data_dir));
    assert!(output.status.success(), "{}", text(&output));
    assert_eq!(result(&database), expected(&good));
    let server = support_server(&data_dir);
    let letters = ottla()
        .args(["consume", "flights.dlq", "--from-beginning", "--exit-at-end", "-o", "json"])
        .args(["--bootstrap-server", &server.1])
        .output()
        .unwrap();
    let letters: Vec<serde_json::Value> = String::from_utf8(letters.stdout)
        .unwrap()
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(letters.len(), 2, "{letters:?}");
    let line_of = |letter: &serde_json::Value| -> String {
        let headers = letter["headers"].as_array().unwrap();
        let header =
            headers.iter().find(|header| header[0] == "ottla.errors.line").expect("the line is named");
        header[1].as_str().unwrap().to_owned()
    };
    assert_eq!(letters.iter().map(line_of).collect::<Vec<_>>(), ["101", "151"]);
    assert_eq!(letters[0]["value"], "2013,1,1,too,few,fields");
}

/// A server over a data directory that a run left, and its address.
fn support_server(data_dir: &Path) -> (Running, String) {
    use std::io::{BufRead, BufReader};
    let mut command = ottla();
    command
        .args(["server", "--listen", "127.0.0.1:0", "--http-listen", "127.0.0.1:0", "--data-dir"])
        .arg(data_dir);
    command.stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::null());
    let mut running = Running(command.spawn().expect("the binary runs"));
    let mut line = String::new();
    BufReader::new(running.0.stdout.take().unwrap()).read_line(&mut line).unwrap();
    let address =
        line.split(' ').find_map(|word| word.strip_prefix("kafka=")).expect("the ready line").to_owned();
    (running, address)
}

#[test]
fn every_kind_of_bad_input_is_one_clear_error_with_its_exit_code() {
    let dir = tempfile::tempdir().unwrap();
    let pipeline = fs::read_to_string(flights_pipeline()).unwrap();
    let changed = |name: &str, from: &str, to: &str| {
        assert!(pipeline.contains(from), "{from:?} is in the pipeline");
        let path = dir.path().join(name);
        fs::write(&path, pipeline.replacen(from, to, 1)).unwrap();
        path
    };
    let unwritable = Path::new("/proc/no/such.db");
    // The pipeline file, the environment, the exit code, and what the error must name.
    type Case<'a> = (std::path::PathBuf, Vec<(&'a str, &'a Path)>, i32, Vec<&'a str>);
    let cases: Vec<Case<'_>> = vec![
        (dir.path().join("absent.yaml"), vec![], 2, vec!["absent.yaml"]),
        (
            flights_pipeline(),
            vec![("FLIGHTS_CSV", Path::new("/no/such/flights.csv"))],
            1,
            vec!["/no/such/flights.csv"],
        ),
        (flights_pipeline(), vec![("OUT_DB", unwritable)], 1, vec!["/proc/no"]),
        (changed("key.yaml", "sources:", "source:"), vec![], 2, vec!["key.yaml:", "sources"]),
        (changed("sql.yaml", "COUNT(*)", "COUNT(*"), vec![], 2, vec!["sql.yaml:"]),
        (
            changed("column.yaml", "AVG(dep_delay)", "AVG(dep_dely)"),
            vec![],
            2,
            vec!["column.yaml:", "dep_delay"],
        ),
        (changed("type.yaml", "timestamp", "timestmp"), vec![], 2, vec!["type.yaml:", "timestamp"]),
    ];
    for (file, env, code, words) in cases {
        let mut command = ottla();
        command.arg("run").arg(&file).env("FLIGHTS_CSV", january()).env("OUT_DB", dir.path().join("x.db"));
        command.envs(env);
        let output = command.output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(code), "{}: {said}", file.display());
        for word in words {
            assert!(said.contains(word), "{} should name {word}:\n{said}", file.display());
        }
        assert!(!said.contains("panicked"), "{said}");
    }
}
