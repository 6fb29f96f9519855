//! The REST API, call by call, with the codes that clients look at.

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::http::{Method, Request};
use serde_json::{Value, json};
use tower::ServiceExt as _;

use super::memory_log::Storage;
use crate::registry::{CONTENT_TYPE, SchemaRegistry};

struct Client(Router);

fn start(storage: &Storage) -> Client {
    Client(SchemaRegistry::start(storage.log()).router("a-cluster".to_owned()))
}

impl Client {
    async fn call(&self, method: Method, path: &str, body: Option<Value>) -> (u16, Value) {
        let body = body.map_or_else(Body::empty, |body| Body::from(body.to_string()));
        let request = Request::builder().method(method).uri(path).header("Content-Type", CONTENT_TYPE);
        let response = self.0.clone().oneshot(request.body(body).unwrap()).await.unwrap();
        assert_eq!(response.headers()["content-type"], CONTENT_TYPE);
        let status = response.status().as_u16();
        let bytes = to_bytes(response.into_body(), 1 << 20).await.unwrap();
        (status, serde_json::from_slice(&bytes).unwrap())
    }

    async fn get(&self, path: &str) -> Value {
        self.call(Method::GET, path, None).await.1
    }

    async fn post(&self, path: &str, body: Value) -> Value {
        self.call(Method::POST, path, Some(body)).await.1
    }

    async fn put(&self, path: &str, body: Value) -> Value {
        self.call(Method::PUT, path, Some(body)).await.1
    }

    async fn delete(&self, path: &str) -> Value {
        self.call(Method::DELETE, path, None).await.1
    }

    async fn register(&self, subject: &str, schema: &str) -> Value {
        self.post(&format!("/subjects/{subject}/versions"), json!({ "schema": schema })).await["id"].clone()
    }
}

fn record(fields: &str) -> String {
    format!(r#"{{"type":"record","name":"R","fields":[{fields}]}}"#)
}

const INT: &str = r#"{"name":"a","type":"int"}"#;
const REQUIRED: &str = r#"{"name":"a","type":"int"},{"name":"b","type":"string"}"#;
const DEFAULTED: &str = r#"{"name":"a","type":"int"},{"name":"b","type":"string","default":""}"#;

#[tokio::test]
async fn the_same_schema_has_one_id_everywhere_and_after_a_restart() {
    let storage = Storage::default();
    let client = start(&storage);
    assert_eq!(client.get("/subjects").await, json!([]));
    assert!(!storage.is_made(), "asking makes no topic");
    assert_eq!(client.register("a", &record(INT)).await, 1);
    assert_eq!(client.register("b", &record(DEFAULTED)).await, 2);
    assert_eq!(client.register("b%2Fc", &record(&INT.replace(':', " : "))).await, 1);
    let client = start(&storage);
    assert_eq!(client.get("/subjects").await, json!(["a", "b", "b/c"]));
    assert_eq!(client.get("/subjects?subjectPrefix=b&offset=1").await, json!(["b/c"]));
    assert_eq!(client.get("/schemas/ids/1").await, json!({ "schema": record(INT) }));
    assert_eq!(client.get("/schemas/ids/1/schema").await["name"], "R");
    assert_eq!(client.get("/schemas/ids/1/subjects").await, json!(["a", "b/c"]));
    assert_eq!(client.get("/schemas/ids/2/versions").await, json!([{ "subject": "b", "version": 1 }]));
    assert_eq!(client.get("/schemas/ids/3").await["error_code"], 40403);
    let found = client.get("/subjects/a/versions/latest").await;
    assert_eq!(found, json!({ "subject": "a", "version": 1, "id": 1, "schema": record(INT) }));
    assert_eq!(client.get("/subjects/a/versions/1/schema").await["name"], "R");
    let found = client.post("/subjects/a", json!({ "schema": record(INT) })).await;
    assert_eq!((&found["id"], &found["version"]), (&json!(1), &json!(1)));
    assert_eq!(client.register("c", "string").await, 3);
    assert_eq!(client.get("/schemas?latestOnly=true").await.as_array().unwrap().len(), 4);
    let scope = client.get("/v1/metadata/id").await;
    assert_eq!(scope["scope"]["clusters"]["kafka-cluster"], "a-cluster");
}

#[tokio::test]
async fn what_is_not_there_or_wrong_has_confluents_codes() {
    let client = start(&Storage::default());
    client.register("a", &record(INT)).await;
    for (path, code) in [
        ("/subjects/x/versions", 40401),
        ("/subjects/x/versions/1", 40401),
        ("/subjects/a/versions/9", 40402),
        ("/subjects/a/versions/0", 42202),
        ("/subjects/a/versions/first", 42202),
        ("/config/a", 40408),
        ("/mode/a", 40409),
        ("/nowhere", 404),
    ] {
        let answer = client.get(path).await;
        assert_eq!(answer["error_code"], code, "{path}: {answer}");
    }
    for (path, body, code) in [
        ("/subjects/x", json!({ "schema": "\"int\"" }), 40401),
        ("/subjects/a", json!({ "schema": "\"int\"" }), 40403),
        ("/subjects/a/versions", json!({ "schema": "{" }), 42201),
        ("/subjects/a/versions", json!({}), 42201),
        ("/subjects/a/versions", json!({ "schema": "x", "schemaType": "PROTOBUF" }), 42201),
        ("/subjects/a/versions", json!([]), 400),
        ("/subjects/__GLOBAL/versions", json!({ "schema": "\"int\"" }), 42208),
        ("/subjects/a/versions", json!({ "schema": "\"int\"", "id": 7 }), 42205),
        ("/compatibility/subjects/x/versions/1", json!({ "schema": "\"int\"" }), 40401),
        ("/compatibility/subjects/a/versions/2", json!({ "schema": "\"int\"" }), 40402),
    ] {
        let (status, answer) = client.call(Method::POST, path, Some(body)).await;
        assert_eq!(answer["error_code"], code, "{path}: {answer}");
        let first_digits = if code > 1000 { code / 100 } else { code };
        assert_eq!(i64::from(status), first_digits);
    }
    assert_eq!(client.put("/config", json!({ "compatibility": "SOME" })).await["error_code"], 42203);
    assert_eq!(client.put("/mode", json!({ "mode": "SOME" })).await["error_code"], 42204);
    assert_eq!(client.delete("/nowhere").await["error_code"], 404);
    assert_eq!(client.delete("/schemas").await["error_code"], 405);
    let request = Request::post("/subjects/a/versions").header("Content-Type", "text/plain");
    let response = client.0.clone().oneshot(request.body(Body::from("{}")).unwrap()).await.unwrap();
    assert_eq!(response.status().as_u16(), 415);
}

#[tokio::test]
async fn versions_must_be_compatible_as_the_subject_or_all_are_set() {
    let client = start(&Storage::default());
    client.register("a", &record(INT)).await;
    let path = "/subjects/a/versions";
    let (status, refused) =
        client.call(Method::POST, path, Some(json!({ "schema": record(REQUIRED) }))).await;
    assert_eq!((status, &refused["error_code"]), (409, &json!(409)));
    let message = refused["message"].as_str().unwrap();
    assert!(
        message
            .starts_with("Schema being registered is incompatible with an earlier schema for subject \"a\"")
            && message.contains("READER_FIELD_MISSING_DEFAULT_VALUE")
            && message.contains("{compatibility: 'BACKWARD'}"),
        "{message}"
    );
    let check = "/compatibility/subjects/a/versions";
    let verdict = client.post(&format!("{check}?verbose=true"), json!({ "schema": record(REQUIRED) })).await;
    assert_eq!(verdict["is_compatible"], false);
    assert!(verdict["messages"][0].as_str().unwrap().contains("'b'"));
    let verdict = client.post(&format!("{check}/latest"), json!({ "schema": record(DEFAULTED) })).await;
    assert_eq!(verdict, json!({ "is_compatible": true }));
    assert_eq!(client.get("/config").await, json!({ "compatibilityLevel": "BACKWARD" }));
    assert_eq!(
        client.put("/config", json!({ "compatibility": "full" })).await,
        json!({ "compatibility": "FULL" })
    );
    assert_eq!(client.get("/config/a?defaultToGlobal=true").await, json!({ "compatibilityLevel": "FULL" }));
    client.put("/config/a", json!({ "compatibility": "FORWARD" })).await;
    assert_eq!(client.register("a", &record(REQUIRED)).await, 2);
    assert_eq!(client.delete("/config/a").await, json!({ "compatibilityLevel": "FORWARD" }));
    assert_eq!(client.delete("/config/a").await["error_code"], 40408);
    assert_eq!(client.delete("/config").await, json!({ "compatibilityLevel": "FULL" }));
    // Of another type.
    let json_schema = json!({ "schema": r#"{"type":"string"}"#, "schemaType": "JSON" });
    assert_eq!(client.post(path, json_schema.clone()).await["error_code"], 409);
    assert_eq!(client.post("/subjects/j/versions", json_schema).await["id"], 3);
    assert_eq!(client.get("/schemas/ids/3").await["schemaType"], "JSON");
    let number = json!({ "schema": r#"{"type":"number"}"#, "schemaType": "JSON" });
    assert_eq!(client.post("/subjects/j/versions", number).await["error_code"], 409);
}

#[tokio::test]
async fn what_is_deleted_softly_can_be_seen_and_what_is_deleted_for_good_cannot() {
    let storage = Storage::default();
    let client = start(&storage);
    client.register("a", &record(INT)).await;
    client.register("a", &record(DEFAULTED)).await;
    assert_eq!(client.delete("/subjects/a?permanent=true").await["error_code"], 40405);
    assert_eq!(client.delete("/subjects/a/versions/1?permanent=true").await["error_code"], 40407);
    assert_eq!(client.delete("/subjects/a/versions/1").await, 1);
    assert_eq!(client.delete("/subjects/a/versions/1").await["error_code"], 40406);
    assert_eq!(client.get("/subjects/a/versions").await, json!([2]));
    assert_eq!(client.get("/subjects/a/versions?deleted=true").await, json!([1, 2]));
    assert_eq!(client.get("/subjects/a/versions?deletedOnly=true").await, json!([1]));
    assert_eq!(client.get("/subjects/a/versions/1").await["error_code"], 40402);
    assert_eq!(client.get("/subjects/a/versions/1?deleted=true").await["id"], 1);
    assert_eq!(client.get("/schemas/ids/1").await["schema"], record(INT));
    // The same schema again is a new version with the old id.
    assert_eq!(client.register("a", &record(INT)).await, 1);
    assert_eq!(client.get("/subjects/a/versions").await, json!([2, 3]));
    client.put("/config/a", json!({ "compatibility": "NONE" })).await;
    assert_eq!(client.delete("/subjects/a").await, json!([2, 3]));
    assert_eq!(client.get("/config/a").await["error_code"], 40408);
    assert_eq!(client.delete("/subjects/a").await["error_code"], 40404);
    assert_eq!(client.get("/subjects").await, json!([]));
    assert_eq!(client.get("/subjects?deleted=true").await, json!(["a"]));
    assert_eq!(client.delete("/subjects/a?permanent=true").await, json!([1, 2, 3]));
    assert_eq!(client.get("/subjects?deleted=true").await, json!([]));
    assert_eq!(client.get("/schemas/ids/1").await["error_code"], 40403);
    // Ids of what is gone are not given again.
    let client = start(&storage);
    assert_eq!(client.register("a", "\"long\"").await, 3);
}

#[tokio::test]
async fn schemas_may_name_types_of_others_which_then_stay() {
    let client = start(&Storage::default());
    client.register("r", &record(INT)).await;
    let uses = json!({
        "schema": r#"{"type":"record","name":"Q","fields":[{"name":"r","type":"R"}]}"#,
        "references": [{ "name": "R", "subject": "r", "version": 1 }],
    });
    assert_eq!(client.post("/subjects/q/versions", uses.clone()).await["id"], 2);
    assert_eq!(client.post("/subjects/q", uses).await["version"], 1);
    assert_eq!(client.get("/subjects/r/versions/1/referencedby").await, json!([2]));
    assert_eq!(client.get("/schemas/ids/2").await["references"][0]["subject"], "r");
    assert_eq!(client.delete("/subjects/r").await["error_code"], 42206);
    let missing = json!({ "schema": "\"R\"", "references": [{ "name": "R", "subject": "x", "version": 1 }] });
    let refused = client.post("/subjects/q/versions", missing).await;
    assert_eq!(refused["error_code"], 42201);
    assert!(refused["message"].as_str().unwrap().contains("No schema reference found"), "{refused}");
}

#[tokio::test]
async fn modes_keep_subjects_from_being_written_and_let_ids_come_from_elsewhere() {
    let client = start(&Storage::default());
    client.register("a", &record(INT)).await;
    assert_eq!(client.put("/mode/a", json!({ "mode": "READONLY" })).await, json!({ "mode": "READONLY" }));
    let body = json!({ "schema": record(DEFAULTED) });
    assert_eq!(client.post("/subjects/a/versions", body.clone()).await["error_code"], 42205);
    assert_eq!(client.delete("/subjects/a").await["error_code"], 42205);
    assert_eq!(client.delete("/mode/a").await, json!({ "mode": "READONLY" }));
    assert_eq!(client.put("/mode", json!({ "mode": "IMPORT" })).await["error_code"], 42205);
    assert_eq!(client.put("/mode/b", json!({ "mode": "IMPORT" })).await["mode"], "IMPORT");
    let import = json!({ "schema": record(DEFAULTED), "id": 70, "version": 5 });
    assert_eq!(client.post("/subjects/b/versions", import).await["id"], 70);
    assert_eq!(client.get("/subjects/b/versions").await, json!([5]));
    let clash = json!({ "schema": "\"int\"", "id": 1 });
    assert_eq!(client.post("/subjects/b/versions", clash).await["error_code"], 42207);
    client.put("/mode/b", json!({ "mode": "READWRITE" })).await;
    assert_eq!(client.register("c", "\"int\"").await, 71);
    client.put("/mode?force=true", json!({ "mode": "READONLY_OVERRIDE" })).await;
    assert_eq!(client.post("/subjects/b/versions", body).await["error_code"], 42205);
    assert_eq!(client.get("/mode/a?defaultToGlobal=true").await["mode"], "READONLY_OVERRIDE");
}

#[tokio::test]
async fn what_another_registry_writes_is_seen_and_a_failing_topic_is_told() {
    let storage = Storage::default();
    let client = start(&storage);
    assert_eq!(client.register("a", "\"int\"").await, 1);
    storage.write(
        r#"{"keytype":"SCHEMA","subject":"p","version":1,"magic":1}"#,
        r#"{"subject":"p","version":1,"id":40,"schema":"syntax = \"proto3\";","schemaType":"PROTOBUF"}"#,
    );
    storage.write("not a key", "{}");
    // A change first reads what is there, so no id is given twice.
    assert_eq!(client.register("b", "\"long\"").await, 41);
    assert_eq!(client.get("/schemas/ids/40").await["schemaType"], "PROTOBUF");
    storage.fail(true);
    let refused = client.post("/subjects/b/versions", json!({ "schema": "\"double\"" })).await;
    assert_eq!(refused["error_code"], 50001);
    storage.fail(false);
    assert_eq!(client.register("b", "\"double\"").await, 42);
}

#[tokio::test]
async fn normalizing_makes_two_ways_of_writing_one_schema() {
    let client = start(&Storage::default());
    let one = r#"{"type":"record","namespace":"n","name":"R","fields":[]}"#;
    let two = r#"{"type":"record","name":"n.R","fields":[]}"#;
    let path = "/subjects/a/versions?normalize=True";
    assert_eq!(client.post(path, json!({ "schema": one })).await["id"], 1);
    assert_eq!(client.post(path, json!({ "schema": two })).await["id"], 1);
    assert_eq!(client.post("/subjects/a?normalize=true", json!({ "schema": one })).await["version"], 1);
    assert_eq!(client.get("/subjects/a/versions").await, json!([1]));
}
