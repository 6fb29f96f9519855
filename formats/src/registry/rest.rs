//! The Schema Registry's REST API: paths, bodies and codes as its clients have them.

use std::borrow::Cow;

use axum::Router;
use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, Path, State};
use axum::http::{HeaderMap, Method, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodRouter, get, post};
use serde::Deserialize;
use serde_json::{Value, json};

use super::decide::{Change, Reply, SchemaRequest};
use super::error::RegistryError;
use super::parsed::{TEXT_BYTES_MAX, TYPES};
use super::records::{Mode, Reference};
use super::service::SchemaRegistry;
use super::subjects::{StoredSchema, Subjects, Version, VersionName, Which};

/// The type of all answers.
pub const CONTENT_TYPE: &str = "application/vnd.schemaregistry.v1+json";

type Answer = Result<Response, RegistryError>;

impl IntoResponse for RegistryError {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let body = json!({ "error_code": self.code(), "message": self.to_string() });
        (status, [(header::CONTENT_TYPE, CONTENT_TYPE)], body.to_string()).into_response()
    }
}

fn answer(body: &Value) -> Answer {
    Ok(([(header::CONTENT_TYPE, CONTENT_TYPE)], body.to_string()).into_response())
}

#[derive(Clone)]
struct Registry {
    registry: SchemaRegistry,
    cluster_id: String,
}

impl SchemaRegistry {
    /// The REST API over this registry. `cluster_id` is of the Kafka cluster.
    pub fn router(self, cluster_id: String) -> Router {
        let route = |methods: MethodRouter<Registry>| methods.fallback(no_such_method);
        Router::new()
            .route("/", route(get(async || answer(&json!({})))))
            .route("/schemas/types", route(get(async || answer(&json!(TYPES)))))
            .route("/schemas", route(get(schemas)))
            .route("/schemas/ids/{id}", route(get(schema)))
            .route("/schemas/ids/{id}/schema", route(get(schema_text)))
            .route("/schemas/ids/{id}/subjects", route(get(schema_subjects)))
            .route("/schemas/ids/{id}/versions", route(get(schema_versions)))
            .route("/subjects", route(get(subjects)))
            .route("/subjects/{subject}", route(post(lookup).delete(delete_subject)))
            .route("/subjects/{subject}/versions", route(get(versions).post(register)))
            .route("/subjects/{subject}/versions/{version}", route(get(version).delete(delete_version)))
            .route("/subjects/{subject}/versions/{version}/schema", route(get(version_text)))
            .route("/subjects/{subject}/versions/{version}/referencedby", route(get(referenced_by)))
            .route("/config", route(get(level).put(set_level).delete(clear_level)))
            .route(
                "/config/{subject}",
                route(get(subject_level).put(set_subject_level).delete(clear_subject_level)),
            )
            .route("/mode", route(get(mode).put(set_mode)))
            .route(
                "/mode/{subject}",
                route(get(subject_mode).put(set_subject_mode).delete(clear_subject_mode)),
            )
            .route("/compatibility/subjects/{subject}/versions", route(post(compatible_with_all)))
            .route("/compatibility/subjects/{subject}/versions/{version}", route(post(compatible_with_one)))
            .route("/contexts", route(get(async || answer(&json!([":.:"])))))
            .route("/v1/metadata/id", route(get(metadata_id)))
            .route("/v1/metadata/version", route(get(metadata_version)))
            .fallback(async || RegistryError::NoSuchPath)
            .layer(axum::middleware::from_fn(check_content_type))
            .layer(DefaultBodyLimit::max(3 * TEXT_BYTES_MAX))
            .with_state(Registry { registry: self, cluster_id })
    }
}

async fn no_such_method() -> RegistryError {
    RegistryError::NoSuchMethod
}

/// What a page of another site can have a browser send has another type.
async fn check_content_type(request: axum::extract::Request, next: axum::middleware::Next) -> Response {
    let known = ["application/vnd.schemaregistry", "application/json", "application/octet-stream"];
    let content_type = request.headers().get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let is_known = content_type.is_some_and(|found| {
        let found = found.trim().to_ascii_lowercase();
        known.iter().any(|word| found.starts_with(word))
    });
    if !is_known && [Method::POST, Method::PUT].contains(request.method()) {
        return RegistryError::UnsupportedMediaType.into_response();
    }
    next.run(request).await
}

/// The query of an address.
struct Query(Vec<(String, String)>);

impl Query {
    fn of(uri: &Uri) -> Query {
        let pairs = form_urlencoded::parse(uri.query().unwrap_or_default().as_bytes());
        let owned = |(name, value): (Cow<'_, str>, Cow<'_, str>)| (name.into_owned(), value.into_owned());
        Query(pairs.map(owned).collect())
    }

    fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(found, _)| found == name).map(|(_, value)| value.as_str())
    }

    fn is(&self, name: &str) -> bool {
        self.get(name).is_some_and(|value| value.eq_ignore_ascii_case("true"))
    }

    fn which(&self) -> Which {
        // confluent-kafka for Python writes it the other way.
        match (self.is("deleted"), self.is("deletedOnly") || self.is("deleted_only")) {
            (_, true) => Which::DeletedOnly,
            (true, false) => Which::WithDeleted,
            (false, false) => Which::Live,
        }
    }

    /// The piece of a list that `offset` and `limit` ask for.
    fn page<T>(&self, all: impl Iterator<Item = T>) -> Vec<T> {
        let number = |name: &str| self.get(name).and_then(|value| value.parse::<usize>().ok());
        let limit = number("limit").filter(|limit| *limit > 0).unwrap_or(usize::MAX);
        all.skip(number("offset").unwrap_or(0)).take(limit).collect()
    }
}

fn body<T: serde::de::DeserializeOwned>(bytes: &Bytes) -> Result<T, RegistryError> {
    serde_json::from_slice(bytes).map_err(|error| RegistryError::BadRequest(format!("the body: {error}")))
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct SchemaBody {
    schema: Option<String>,
    schema_type: Option<String>,
    references: Option<Vec<Reference>>,
    id: Option<i32>,
    version: Option<i32>,
    metadata: Option<Value>,
    rule_set: Option<Value>,
}

fn schema_request(bytes: &Bytes, query: &Query) -> Result<SchemaRequest, RegistryError> {
    let body: SchemaBody = body(bytes)?;
    if body.metadata.is_some() || body.rule_set.is_some() {
        let why = "metadata and ruleSet are not served here; leave them out".to_owned();
        return Err(RegistryError::InvalidSchema(why));
    }
    let text = body.schema.unwrap_or_default();
    let schema = StoredSchema::new(body.schema_type, text, body.references.unwrap_or_default());
    // Some clients write 0 or -1 for none.
    let given = |number: Option<i32>| number.filter(|number| *number > 0);
    let (id, version) = (given(body.id), given(body.version));
    Ok(SchemaRequest { schema, id, version, normalize: query.is("normalize") })
}

/// A schema's text, with its type and references where they say something.
fn described(schema: &StoredSchema) -> Value {
    let mut out = json!({ "schema": schema.text });
    if schema.schema_type != super::parsed::AVRO {
        out["schemaType"] = json!(schema.schema_type);
    }
    if !schema.references.is_empty() {
        out["references"] = json!(schema.references);
    }
    out
}

fn described_version(
    subjects: &Subjects,
    subject: &str,
    (number, version): (i32, Version),
) -> Result<Value, RegistryError> {
    let mut out = described(subjects.schema(version.id)?);
    out["subject"] = json!(subject);
    out["id"] = json!(version.id);
    out["version"] = json!(number);
    if version.is_deleted {
        out["deleted"] = json!(true);
    }
    Ok(out)
}

fn parse_id(text: &str) -> Result<i32, RegistryError> {
    text.parse().map_err(|_| RegistryError::NoSuchPath)
}

async fn subjects(State(Registry { registry, .. }): State<Registry>, uri: Uri) -> Answer {
    let query = Query::of(&uri);
    let prefix = query.get("subjectPrefix").unwrap_or_default();
    // Confluent's clients name the default context so.
    let prefix = prefix.strip_prefix(":*:").unwrap_or(prefix);
    let names = registry
        .ask(|subjects| {
            let all = subjects.names(query.which()).filter(|name| name.starts_with(prefix));
            Ok(json!(query.page(all)))
        })
        .await?;
    answer(&names)
}

async fn schemas(State(Registry { registry, .. }): State<Registry>, uri: Uri) -> Answer {
    let query = Query::of(&uri);
    let prefix = query.get("subjectPrefix").unwrap_or_default();
    let found = registry
        .ask(|subjects| {
            let mut all = Vec::new();
            for name in subjects.names(query.which()).filter(|name| name.starts_with(prefix)) {
                let mut versions = subjects.versions(name, query.which())?;
                if query.is("latestOnly") {
                    versions.drain(..versions.len().saturating_sub(1));
                }
                all.extend(versions.into_iter().map(|version| (name, version)));
            }
            let page = query.page(all.into_iter());
            page.into_iter().map(|(name, version)| described_version(subjects, name, version)).collect()
        })
        .await?;
    answer(&Value::Array(found))
}

async fn schema(
    State(Registry { registry, .. }): State<Registry>,
    Path(id): Path<String>,
    uri: Uri,
) -> Answer {
    let (id, query) = (parse_id(&id)?, Query::of(&uri));
    let found = registry
        .ask(|subjects| {
            let mut out = described(subjects.schema(id)?);
            if query.is("fetchMaxId") {
                out["maxId"] = json!(subjects.last_id());
            }
            Ok(out)
        })
        .await?;
    answer(&found)
}

/// A text that is JSON itself.
fn text(text: String) -> Answer {
    Ok(([(header::CONTENT_TYPE, CONTENT_TYPE)], text).into_response())
}

async fn schema_text(State(Registry { registry, .. }): State<Registry>, Path(id): Path<String>) -> Answer {
    let id = parse_id(&id)?;
    text(registry.ask(|subjects| Ok(subjects.schema(id)?.text.clone())).await?)
}

async fn schema_subjects(
    State(Registry { registry, .. }): State<Registry>,
    Path(id): Path<String>,
    uri: Uri,
) -> Answer {
    let (id, query) = (parse_id(&id)?, Query::of(&uri));
    let names = registry
        .ask(|subjects| {
            let mut names: Vec<&str> =
                subjects.places(id, query.which())?.into_iter().map(|(subject, _)| subject).collect();
            names.dedup();
            Ok(json!(names))
        })
        .await?;
    answer(&names)
}

async fn schema_versions(
    State(Registry { registry, .. }): State<Registry>,
    Path(id): Path<String>,
    uri: Uri,
) -> Answer {
    let (id, query) = (parse_id(&id)?, Query::of(&uri));
    let found = registry
        .ask(|subjects| {
            let places = subjects.places(id, query.which())?;
            let place = |(subject, version)| json!({ "subject": subject, "version": version });
            Ok(Value::Array(places.into_iter().map(place).collect()))
        })
        .await?;
    answer(&found)
}

async fn versions(
    State(Registry { registry, .. }): State<Registry>,
    Path(subject): Path<String>,
    uri: Uri,
) -> Answer {
    let query = Query::of(&uri);
    let found = registry.ask(|subjects| subjects.versions(&subject, query.which())).await?;
    answer(&json!(query.page(found.into_iter().map(|(number, _)| number))))
}

async fn version(
    State(Registry { registry, .. }): State<Registry>,
    Path((subject, version)): Path<(String, String)>,
    uri: Uri,
) -> Answer {
    let (name, query) = (VersionName::parse(&version)?, Query::of(&uri));
    let found = registry
        .ask(|subjects| {
            let version = subjects.version(&subject, name, query.which())?;
            described_version(subjects, &subject, version)
        })
        .await?;
    answer(&found)
}

async fn version_text(
    State(Registry { registry, .. }): State<Registry>,
    Path((subject, version)): Path<(String, String)>,
    uri: Uri,
) -> Answer {
    let (name, query) = (VersionName::parse(&version)?, Query::of(&uri));
    let found = registry
        .ask(|subjects| {
            let (_, version) = subjects.version(&subject, name, query.which())?;
            Ok(subjects.schema(version.id)?.text.clone())
        })
        .await?;
    text(found)
}

async fn referenced_by(
    State(Registry { registry, .. }): State<Registry>,
    Path((subject, version)): Path<(String, String)>,
) -> Answer {
    let name = VersionName::parse(&version)?;
    let ids = registry
        .ask(|subjects| {
            let (number, _) = subjects.version(&subject, name, Which::WithDeleted)?;
            Ok(subjects.referenced_by(&subject, number))
        })
        .await?;
    answer(&json!(ids))
}

async fn lookup(
    State(Registry { registry, .. }): State<Registry>,
    Path(subject): Path<String>,
    uri: Uri,
    bytes: Bytes,
) -> Answer {
    let query = Query::of(&uri);
    let request = schema_request(&bytes, &query)?;
    let found = registry
        .ask(|subjects| {
            subjects.versions(&subject, query.which())?;
            let schema = subjects.prepare(&request)?;
            let found = subjects.version_of(&subject, &schema, query.which());
            described_version(subjects, &subject, found.ok_or(RegistryError::SchemaNotFound)?)
        })
        .await?;
    answer(&found)
}

async fn register(
    State(Registry { registry, .. }): State<Registry>,
    Path(subject): Path<String>,
    uri: Uri,
    bytes: Bytes,
) -> Answer {
    let request = schema_request(&bytes, &Query::of(&uri))?;
    let reply = registry.change(Change::Register { subject: subject.clone(), request }).await?;
    let Reply::Registered { id, version } = reply else { return answer(&json!({})) };
    let found = registry.ask(|subjects| Ok(described(subjects.schema(id)?))).await;
    let mut out = found.unwrap_or_else(|_| json!({}));
    out["id"] = json!(id);
    out["version"] = json!(version);
    out["subject"] = json!(subject);
    answer(&out)
}

async fn delete_subject(
    State(Registry { registry, .. }): State<Registry>,
    Path(subject): Path<String>,
    uri: Uri,
) -> Answer {
    let is_permanent = Query::of(&uri).is("permanent");
    reply(registry.change(Change::DeleteSubject { subject, is_permanent }).await?, "")
}

async fn delete_version(
    State(Registry { registry, .. }): State<Registry>,
    Path((subject, version)): Path<(String, String)>,
    uri: Uri,
) -> Answer {
    let (version, is_permanent) = (VersionName::parse(&version)?, Query::of(&uri).is("permanent"));
    reply(registry.change(Change::DeleteVersion { subject, version, is_permanent }).await?, "")
}

/// The answer to a change; `level_word` is what a level is called in it.
fn reply(reply: Reply, level_word: &str) -> Answer {
    match reply {
        Reply::Registered { id, .. } => answer(&json!({ "id": id })),
        Reply::Versions(numbers) => answer(&json!(numbers)),
        Reply::Version(number) => answer(&json!(number)),
        Reply::Level(level) => answer(&json!({ level_word: level.word() })),
        Reply::Mode(mode) => answer(&json!({ "mode": mode.word() })),
    }
}

#[derive(Deserialize)]
struct LevelBody {
    #[serde(alias = "compatibilityLevel")]
    compatibility: Option<String>,
    #[serde(flatten)]
    others: serde_json::Map<String, Value>,
}

async fn put_level(registry: SchemaRegistry, subject: Option<String>, bytes: Bytes) -> Answer {
    let LevelBody { compatibility, others } = body(&bytes)?;
    if let Some((name, _)) = others.iter().find(|(_, value)| !value.is_null() && **value != json!(false)) {
        return Err(RegistryError::InvalidLevel(format!("{name} is not served here; leave it out")));
    }
    let level = compatibility.ok_or_else(|| RegistryError::InvalidLevel(String::new()))?.parse()?;
    reply(registry.change(Change::SetLevel { subject, level }).await?, "compatibility")
}

async fn level(State(Registry { registry, .. }): State<Registry>) -> Answer {
    let level = registry.ask(|subjects| Ok(subjects.level(None))).await?;
    answer(&json!({ "compatibilityLevel": level.word() }))
}

async fn set_level(State(Registry { registry, .. }): State<Registry>, bytes: Bytes) -> Answer {
    put_level(registry, None, bytes).await
}

async fn clear_level(State(Registry { registry, .. }): State<Registry>) -> Answer {
    reply(registry.change(Change::ClearLevel { subject: None }).await?, "compatibilityLevel")
}

async fn subject_level(
    State(Registry { registry, .. }): State<Registry>,
    Path(subject): Path<String>,
    uri: Uri,
) -> Answer {
    let or_global = Query::of(&uri).is("defaultToGlobal");
    let level = registry
        .ask(|subjects| match (subjects.own_level(Some(&subject)), or_global) {
            (Some(level), _) => Ok(level),
            (None, true) => Ok(subjects.level(None)),
            (None, false) => Err(RegistryError::NoSubjectConfig(subject.clone())),
        })
        .await?;
    answer(&json!({ "compatibilityLevel": level.word() }))
}

async fn set_subject_level(
    State(Registry { registry, .. }): State<Registry>,
    Path(subject): Path<String>,
    bytes: Bytes,
) -> Answer {
    put_level(registry, Some(subject), bytes).await
}

async fn clear_subject_level(
    State(Registry { registry, .. }): State<Registry>,
    Path(subject): Path<String>,
) -> Answer {
    reply(registry.change(Change::ClearLevel { subject: Some(subject) }).await?, "compatibilityLevel")
}

async fn put_mode(registry: SchemaRegistry, subject: Option<String>, uri: &Uri, bytes: Bytes) -> Answer {
    let word = body::<Value>(&bytes)?.get("mode").and_then(Value::as_str).unwrap_or_default().to_owned();
    let mode = Mode::of(&word).ok_or(RegistryError::InvalidMode(word))?;
    let is_forced = Query::of(uri).is("force");
    reply(registry.change(Change::SetMode { subject, mode, is_forced }).await?, "")
}

async fn mode(State(Registry { registry, .. }): State<Registry>) -> Answer {
    let mode = registry.ask(|subjects| Ok(subjects.mode(None))).await?;
    answer(&json!({ "mode": mode.word() }))
}

async fn set_mode(State(Registry { registry, .. }): State<Registry>, uri: Uri, bytes: Bytes) -> Answer {
    put_mode(registry, None, &uri, bytes).await
}

async fn subject_mode(
    State(Registry { registry, .. }): State<Registry>,
    Path(subject): Path<String>,
    uri: Uri,
) -> Answer {
    let or_global = Query::of(&uri).is("defaultToGlobal");
    let mode = registry
        .ask(|subjects| match (subjects.own_mode(Some(&subject)), or_global) {
            (Some(mode), _) => Ok(mode),
            (None, true) => Ok(subjects.mode(None)),
            (None, false) => Err(RegistryError::NoSubjectMode(subject.clone())),
        })
        .await?;
    answer(&json!({ "mode": mode.word() }))
}

async fn set_subject_mode(
    State(Registry { registry, .. }): State<Registry>,
    Path(subject): Path<String>,
    uri: Uri,
    bytes: Bytes,
) -> Answer {
    put_mode(registry, Some(subject), &uri, bytes).await
}

async fn clear_subject_mode(
    State(Registry { registry, .. }): State<Registry>,
    Path(subject): Path<String>,
) -> Answer {
    reply(registry.change(Change::ClearMode { subject }).await?, "")
}

async fn compatible(
    registry: SchemaRegistry,
    subject: String,
    beside: Option<VersionName>,
    uri: &Uri,
    bytes: &Bytes,
) -> Answer {
    let query = Query::of(uri);
    let request = schema_request(bytes, &query)?;
    let messages = registry.ask(|subjects| subjects.incompatibilities(&subject, beside, &request)).await?;
    let mut out = json!({ "is_compatible": messages.is_empty() });
    if query.is("verbose") {
        out["messages"] = json!(messages);
    }
    answer(&out)
}

async fn compatible_with_all(
    State(Registry { registry, .. }): State<Registry>,
    Path(subject): Path<String>,
    uri: Uri,
    bytes: Bytes,
) -> Answer {
    compatible(registry, subject, None, &uri, &bytes).await
}

async fn compatible_with_one(
    State(Registry { registry, .. }): State<Registry>,
    Path((subject, version)): Path<(String, String)>,
    uri: Uri,
    bytes: Bytes,
) -> Answer {
    let version = VersionName::parse(&version)?;
    compatible(registry, subject, Some(version), &uri, &bytes).await
}

async fn metadata_id(State(Registry { cluster_id, .. }): State<Registry>) -> Answer {
    let clusters = json!({ "kafka-cluster": cluster_id, "schema-registry-cluster": "schema-registry" });
    answer(&json!({ "scope": { "path": [], "clusters": clusters } }))
}

async fn metadata_version(_: HeaderMap) -> Answer {
    answer(&json!({ "version": env!("CARGO_PKG_VERSION"), "commitId": "unknown" }))
}
