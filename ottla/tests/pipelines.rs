//! Pipelines of a running server: planned, applied, changed, refused, deleted, and going on after kill -9.

mod support;

use std::path::{Path, PathBuf};
use std::process::Output;
use std::time::{Duration, Instant};

use rusqlite::Connection;
use serde_json::Value;
use support::{Running, ottla, serving, text};

/// A server on free ports, with where it is asked by HTTP.
fn server(data_dir: &Path) -> (Running, String) {
    let (running, _, http) = serving::server(data_dir);
    (running, format!("http://{http}"))
}

const PIPELINE: &str = "\
version: ottla/v1
name: shop
env:
  ORDERS: { relative_to: cwd }
  OUT_DB: { default: out.db, relative_to: cwd }
topics:
  orders: { config: { retention.ms: -1 } }
schemas:
  order: { id: int, city: string, amount: int }
sources:
  orders_csv:
    type: file
    config: { path: !env ORDERS, format: csv }
    to: { topic: orders, key: city, schema: order }
transforms:
  by_city:
    sql: SELECT city, COUNT(*) AS orders, SUM(amount) AS amount FROM orders GROUP BY city
sinks:
  to_db:
    from: by_city
    type: sqlite
    config: { path: !env OUT_DB, table: by_city, mode: upsert, primary_key: [city] }
";

struct Shop {
    folder: tempfile::TempDir,
    http: String,
}

impl Shop {
    fn file(&self) -> PathBuf {
        self.folder.path().join("pipeline.yaml")
    }

    /// `ottla pipeline …`, as somebody in the folder runs it, with relative paths.
    fn pipeline(&self, arguments: &[&str]) -> Output {
        let mut command = ottla();
        command.current_dir(self.folder.path()).env("ORDERS", "orders.csv").arg("pipeline").args(arguments);
        command.args(["--http", &self.http]).output().unwrap()
    }

    fn json(&self, arguments: &[&str]) -> Value {
        let output = self.pipeline(&[arguments, &["-o", "json"]].concat());
        assert!(output.status.success(), "{arguments:?}: {}", text(&output));
        serde_json::from_slice(&output.stdout).unwrap()
    }

    fn write(&self, pipeline: &str) {
        std::fs::write(self.file(), pipeline).unwrap();
    }

    /// Waits until the pipeline is in this state.
    fn until(&self, state: &str) -> Value {
        let asked_at = Instant::now();
        loop {
            let told = self.json(&["describe", "shop"]);
            if told["state"] == state {
                return told;
            }
            assert!(asked_at.elapsed() < Duration::from_secs(60), "{told}");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    fn rows(&self) -> Vec<(String, i64, i64)> {
        let database = Connection::open(self.folder.path().join("out.db")).unwrap();
        let mut statement =
            database.prepare("SELECT city, orders, amount FROM by_city ORDER BY city").unwrap();
        let rows = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?))).unwrap();
        rows.collect::<Result<_, _>>().unwrap()
    }
}

fn row(city: &str, orders: i64, amount: i64) -> (String, i64, i64) {
    (city.to_owned(), orders, amount)
}

#[test]
fn a_file_is_planned_applied_changed_and_deleted_and_survives_kills() {
    let folder = tempfile::tempdir().unwrap();
    let orders = folder.path().join("orders.csv");
    std::fs::write(&orders, "id,city,amount\n1,A,10\n2,B,5\n3,A,1\n").unwrap();
    let data = folder.path().join("data");
    let (mut running, http) = server(&data);
    let mut shop = Shop { folder, http };
    shop.write(PIPELINE);

    // A wrong file changes nothing, and all that is wrong is told.
    shop.write(&PIPELINE.replace("city, COUNT", "citty, COUNT").replace("type: sqlite", "type: sqlit"));
    let wrong = shop.pipeline(&["apply", "pipeline.yaml"]);
    assert_eq!(wrong.status.code(), Some(2), "{}", text(&wrong));
    assert!(
        text(&wrong).contains("did you mean `sqlite`?") && text(&wrong).contains("citty"),
        "{}",
        text(&wrong)
    );
    assert_eq!(shop.json(&["list"]), serde_json::json!([]));
    shop.write(PIPELINE);

    let planned = shop.pipeline(&["plan", "pipeline.yaml", "--out", "plan.json", "--exit-code"]);
    assert_eq!(planned.status.code(), Some(3), "{}", text(&planned));
    assert!(text(&planned).contains("5 to create, 0 to change"), "{}", text(&planned));
    let applied = shop.pipeline(&["apply", "--plan", "plan.json"]);
    assert!(applied.status.success(), "{}", text(&applied));
    shop.until("drained");
    assert_eq!(shop.rows(), [row("A", 2, 11), row("B", 1, 5)]);
    let again = shop.pipeline(&["apply", "--plan", "plan.json"]);
    assert!(text(&again).contains("out of date (revision 1 was applied meanwhile)"), "{}", text(&again));
    let same = shop.pipeline(&["plan", "pipeline.yaml", "--exit-code"]);
    assert_eq!((same.status.code(), text(&same).contains("nothing to change")), (Some(0), true));

    // After a kill it runs as before, with the variables that it was applied with, and takes up what is new.
    running.kill();
    std::fs::write(&orders, "id,city,amount\n1,A,10\n2,B,5\n3,A,1\n4,C,7\n").unwrap();
    (running, shop.http) = server(&data);
    shop.until("drained");
    assert_eq!(shop.rows(), [row("A", 2, 11), row("B", 1, 5), row("C", 1, 7)]);

    // Topics are changed in place.
    shop.write(&PIPELINE.replace("retention.ms: -1", "retention.ms: 86400000"));
    let told = shop.json(&["apply", "pipeline.yaml"]);
    assert_eq!((&told["revision"], &told["changes"][0]["action"]), (&Value::from(2), &Value::from("update")));

    // State that cannot be kept is only lost where the file says so.
    let other = PIPELINE.replace("FROM orders GROUP", "FROM orders WHERE amount > 1 GROUP");
    shop.write(&other);
    let refused = shop.pipeline(&["apply", "pipeline.yaml"]);
    assert_eq!(refused.status.code(), Some(1), "{}", text(&refused));
    assert!(
        text(&refused).contains("pipeline.yaml:16: the state that it has was made by another query"),
        "{}",
        text(&refused)
    );
    shop.write(&other.replace("  by_city:\n", "  by_city:\n    replace: true\n"));
    let told = shop.json(&["apply", "pipeline.yaml"]);
    assert_eq!(told["revision"], 3);
    shop.until("drained");
    assert_eq!(shop.rows(), [row("A", 1, 10), row("B", 1, 5), row("C", 1, 7)]);

    // A source that cannot go on is told, and going on is a matter of applying again.
    std::fs::remove_file(&orders).unwrap();
    running.kill();
    (running, shop.http) = server(&data);
    let failed = shop.until("failed");
    assert!(failed["reason"].as_str().is_some_and(|reason| reason.contains("orders.csv")), "{failed}");
    std::fs::write(&orders, "id,city,amount\n1,A,10\n2,B,5\n3,A,1\n4,C,7\n5,A,2\n").unwrap();
    let told = shop.json(&["apply", "pipeline.yaml"]);
    assert_eq!(told["changes"][0]["action"], "restart");
    shop.until("drained");
    assert_eq!(shop.rows()[0], row("A", 2, 12));

    let deleted = shop.pipeline(&["delete", "shop", "--topics"]);
    assert!(deleted.status.success(), "{}", text(&deleted));
    assert_eq!(shop.json(&["list"]), serde_json::json!([]));
    let missing = shop.pipeline(&["delete", "shop"]);
    assert!(text(&missing).contains("there is no pipeline `shop`"), "{}", text(&missing));
    drop(running);
}

#[test]
fn renamed_stages_go_on_where_they_were() {
    let folder = tempfile::tempdir().unwrap();
    let orders = folder.path().join("orders.csv");
    std::fs::write(&orders, "id,city,amount\n1,A,10\n2,B,5\n").unwrap();
    let data = folder.path().join("data");
    let (mut running, http) = server(&data);
    let mut shop = Shop { folder, http };
    shop.write(PIPELINE);
    shop.json(&["apply", "pipeline.yaml"]);
    shop.until("drained");

    let renamed = PIPELINE
        .replace("  orders_csv:\n", "  csv:\n    renamed_from: orders_csv\n")
        .replace("  by_city:\n", "  sums:\n    renamed_from: by_city\n    to: by_city\n")
        .replace("  to_db:\n", "  db:\n    renamed_from: to_db\n");
    std::fs::write(&orders, "id,city,amount\n1,A,10\n2,B,5\n3,A,1\n").unwrap();
    shop.write(&renamed);
    let told = shop.json(&["apply", "pipeline.yaml"]);
    let actions: Vec<&Value> =
        told["changes"].as_array().unwrap().iter().map(|change| &change["action"]).collect();
    assert_eq!(actions, ["restart", "restart", "restart"], "{told}");
    shop.until("drained");
    // A source or a query that had begun anew would have counted the first rows twice.
    assert_eq!(shop.rows(), [row("A", 2, 11), row("B", 1, 5)]);

    shop.write(&renamed.replace("    renamed_from: by_city\n", ""));
    let refused = shop.pipeline(&["apply", "pipeline.yaml"]);
    assert_eq!(refused.status.code(), Some(1), "{}", text(&refused));
    assert!(text(&refused).contains("leave `renamed_from: by_city` there"), "{}", text(&refused));

    running.kill();
    std::fs::write(&orders, "id,city,amount\n1,A,10\n2,B,5\n3,A,1\n4,B,2\n").unwrap();
    (running, shop.http) = server(&data);
    let told = shop.until("drained");
    assert_eq!(told["stages"][1]["stage"], "sums");
    assert_eq!(shop.rows(), [row("A", 2, 11), row("B", 2, 7)]);
    drop(running);
}
