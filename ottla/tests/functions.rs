//! Functions in WebAssembly, by `POST /sql` of a server as a process: over a restart, and when they misbehave.

mod support;

use support::root;
use support::serving::{expect, post, produce, server};

/// The fixture's functions, honest and hostile, by their SQL names.
fn create(module: &str) -> String {
    format!(
        "CREATE FUNCTION same(v INT) RETURNS INT LANGUAGE wasm AS '{module}' IMMUTABLE;
         CREATE FUNCTION positive(v INT) RETURNS INT LANGUAGE wasm AS '{module}', 'refuse_negative';
         CREATE FUNCTION trap_negative(v INT) RETURNS INT LANGUAGE wasm AS '{module}';
         CREATE FUNCTION spin_negative(v INT) RETURNS INT LANGUAGE wasm AS '{module}'"
    )
}

#[test]
fn a_function_serves_views_and_queries_after_a_restart_without_its_file() {
    let dir = tempfile::tempdir().unwrap();
    let (mut running, kafka, http) = server(&dir.path().join("data"));
    let module = dir.path().join("scalar.wasm");
    std::fs::copy(root().join("plugins/tests/fixtures/scalar.wasm"), &module).unwrap();
    let (status, made) = post(&http, &create(module.to_str().unwrap()));
    assert_eq!((status, made.lines().count()), (200, 4), "{made}");
    let sql = "CREATE STREAM n (v INT, t STRING);
        CREATE MATERIALIZED VIEW s AS SELECT positive(v) AS k, COUNT(*) AS c FROM n GROUP BY positive(v)";
    assert_eq!(post(&http, sql).0, 200);
    // The function refuses a row, which is that row's end and no other's.
    produce(&kafka, "n", &["a#{\"v\":1}", "b#{\"v\":-1}", "c#{\"v\":2}", "d#{\"v\":null}"]);
    expect(
        &http,
        "SELECT k, c FROM s ORDER BY k",
        "{\"k\":1,\"c\":1}\n{\"k\":2,\"c\":1}\n{\"k\":null,\"c\":1}\n",
    );

    running.kill();
    std::fs::remove_file(&module).unwrap();
    let (_running, kafka, http) = server(&dir.path().join("data"));
    produce(&kafka, "n", &["e#{\"v\":1}"]);
    expect(&http, "SELECT k, c FROM s WHERE k = SAME(1)", "{\"k\":1,\"c\":2}\n");
    let (_, shown) = post(&http, "SHOW FUNCTIONS; DESCRIBE Positive");
    assert_eq!(shown.lines().filter(|line| line.contains("\"language\":\"wasm\"")).count(), 4, "{shown}");
    assert!(shown.contains("{\"property\":\"used by\",\"value\":\"s\"}"), "{shown}");
    let (status, refused) = post(&http, "DROP FUNCTION Positive");
    assert_eq!(status, 400, "{refused}");
    assert!(refused.contains("`positive` is used by s"), "{refused}");
    let (status, dropped) =
        post(&http, "DROP VIEW s; DROP FUNCTION positive; SELECT positive(1) AS x FROM n");
    assert_eq!(status, 400, "{dropped}");
    assert!(dropped.contains("there is no function `positive`"), "{dropped}");
}

#[test]
fn a_function_that_loops_or_traps_fails_its_query_and_no_other() {
    let dir = tempfile::tempdir().unwrap();
    let (_running, kafka, http) = server(dir.path());
    let module = root().join("plugins/tests/fixtures/scalar.wasm");
    assert_eq!(post(&http, &create(module.to_str().unwrap())).0, 200);
    let sql = "CREATE STREAM n (v INT);
        CREATE MATERIALIZED VIEW good AS SELECT SUM(same(v)) AS s FROM n;
        CREATE MATERIALIZED VIEW spins AS SELECT SUM(spin_negative(v)) AS s FROM n;
        CREATE MATERIALIZED VIEW traps AS SELECT SUM(trap_negative(v)) AS s FROM n";
    assert_eq!(post(&http, sql).0, 200);
    produce(&kafka, "n", &["a#{\"v\":1}"]);
    for view in ["good", "spins", "traps"] {
        expect(&http, &format!("SELECT s FROM {view}"), "{\"s\":1}\n");
    }
    produce(&kafka, "n", &["b#{\"v\":-4}"]);
    expect(&http, "SELECT s FROM good", "{\"s\":-3}\n");
    let failed = |name: &str, reason: &str| {
        let started = std::time::Instant::now();
        loop {
            let (_, shown) = post(&http, "SHOW QUERIES");
            let line =
                shown.lines().find(|line| line.contains(&format!("\"name\":\"{name}\""))).unwrap().to_owned();
            if line.contains("failed") {
                assert!(line.contains(reason), "{line}");
                return;
            }
            assert!(started.elapsed().as_secs() < 60, "{shown}");
            std::thread::sleep(std::time::Duration::from_millis(50));
        }
    };
    failed("spins", "function spin_negative: plugin `scalar`: the call used more than its ");
    failed("traps", "function trap_negative: plugin `scalar`: it trapped: wasm `unreachable`");
    // A query that is asked for once says so, too, and what was answered before stands.
    let (status, told) = post(&http, "SELECT spin_negative(v) AS x FROM n");
    assert_eq!(status, 500, "{told}");
    assert!(told.contains("function spin_negative: plugin `scalar`: the call used more than"), "{told}");
    let (_, told) = post(&http, "SELECT trap_negative(v) AS x FROM n EMIT CHANGES");
    assert!(told.contains("it trapped"), "{told}");
    produce(&kafka, "n", &["c#{\"v\":4}"]);
    expect(&http, "SELECT s FROM good", "{\"s\":1}\n");
}

#[test]
fn what_cannot_be_a_function_is_told() {
    let dir = tempfile::tempdir().unwrap();
    let (_running, _kafka, http) = server(dir.path());
    let module = root().join("plugins/tests/fixtures/scalar.wasm");
    let module = module.to_str().unwrap();
    let transform = root().join("plugins/examples/split-lines/split-lines.wasm");
    for (sql, expected) in [
        (
            "CREATE FUNCTION f(a INT) RETURNS INT LANGUAGE wasm AS 'nowhere/f.wasm'".to_owned(),
            "plugin `f`: cannot read nowhere/f.wasm: ",
        ),
        (
            format!("CREATE FUNCTION f(a INT) RETURNS INT LANGUAGE wasm AS '{}'", transform.display()),
            "it does not export `functions` as func() -> string: it exports `transform`",
        ),
        (
            format!("CREATE FUNCTION sane(a INT) RETURNS INT LANGUAGE wasm AS '{module}'"),
            "has no function `sane`; did you mean `same`?",
        ),
        (
            format!("CREATE FUNCTION same(a STRING) RETURNS INT LANGUAGE wasm AS '{module}'"),
            "the statement declares same(utf8) -> int64, and the module has same(int64) -> int64",
        ),
        (
            format!("CREATE FUNCTION upper(a INT) RETURNS INT LANGUAGE wasm AS '{module}', 'same'"),
            "the function `upper` is built in",
        ),
        ("DROP FUNCTION f".to_owned(), "there is no FUNCTION `f`"),
        ("CREATE STREAM s (t STRING); SELECT f(t) AS x FROM s".to_owned(), "there is no function `f`"),
    ] {
        let (status, told) = post(&http, &sql);
        assert_eq!(status, 400, "{sql}: {told}");
        assert!(told.contains(expected), "{sql}: {told}");
    }
    assert_eq!(post(&http, &create(module)).0, 200);
    for (sql, expected) in [
        (create(module), "there is a FUNCTION `same` already"),
        ("SELECT same(t) AS x FROM s".to_owned(), "same"),
        ("SELECT same(1, 2) AS x FROM s".to_owned(), "same"),
    ] {
        let (status, told) = post(&http, &sql);
        assert_eq!(status, 400, "{sql}: {told}");
        assert!(told.contains(expected), "{sql}: {told}");
    }
}
