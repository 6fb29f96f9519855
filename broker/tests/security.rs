//! Who may come in and what they may do there: TLS, SASL and access control over real connections.

mod authority;
mod wire;

use std::net::SocketAddr;

use authority::Authority;
use bytes::Bytes;
use ottla_broker::{Broker, BrokerConfig};
use ottla_client::security::{SaltedPassword, ScramClient, ScramMechanism, Secret};
use ottla_protocol::ErrorCode;
use ottla_protocol::messages::k30_create_acls::AclCreation;
use ottla_protocol::messages::k51_alter_user_scram_credentials::ScramCredentialUpsertion;
use ottla_protocol::messages::*;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use wire::Wire;

const AUTHORIZER: (&str, &str) =
    ("authorizer.class.name", "org.apache.kafka.metadata.authorizer.StandardAuthorizer");
const USERS: &str = "org.apache.kafka.common.security.plain.PlainLoginModule required user_admin=\"admin-secret\" user_alice=\"alice-secret\";";

async fn started(dir: &tempfile::TempDir, settings: &[(&str, &str)]) -> Broker {
    let mut config = BrokerConfig::new(dir.path().join("data"));
    for (name, value) in settings {
        config.set(name, value).unwrap_or_else(|error| panic!("{name}: {error}"));
    }
    Broker::start(config).await.unwrap()
}

/// SASL over plaintext with PLAIN and SCRAM, and an authorizer whose super user is `admin`.
async fn with_sasl(dir: &tempfile::TempDir, more: &[(&str, &str)]) -> Broker {
    let settings = [
        ("listeners", "SASL_PLAINTEXT://127.0.0.1:0"),
        ("sasl.enabled.mechanisms", "PLAIN,SCRAM-SHA-256,SCRAM-SHA-512"),
        ("listener.name.sasl_plaintext.plain.sasl.jaas.config", USERS),
        ("connection.failed.authentication.delay.ms", "1"),
        AUTHORIZER,
        ("super.users", "User:admin"),
    ];
    started(dir, &[&settings[..], more].concat()).await
}

async fn handshake(wire: &mut Wire, mechanism: &str) -> SaslHandshakeResponse {
    wire.call(1, &SaslHandshakeRequest { mechanism: mechanism.into() }).await
}

async fn authenticate(wire: &mut Wire, message: impl Into<Bytes>) -> SaslAuthenticateResponse {
    wire.call(2, &SaslAuthenticateRequest { auth_bytes: message.into() }).await
}

async fn logged_in(address: SocketAddr, user: &str) -> Wire {
    let mut wire = Wire::connect(address).await;
    handshake(&mut wire, "PLAIN").await;
    let answer = authenticate(&mut wire, format!("\0{user}\0{user}-secret")).await;
    assert_eq!(answer.error_code, 0, "{:?}", answer.error_message);
    wire
}

async fn is_closed(wire: &mut Wire) -> bool {
    wire.receive_raw().await.is_none()
}

fn allow(principal: &str, operation: i8, (resource_type, name): (i8, &str)) -> CreateAclsRequest {
    let creation = AclCreation {
        resource_type,
        resource_name: name.into(),
        resource_pattern_type: 3,
        principal: principal.into(),
        host: "*".into(),
        operation,
        permission_type: 3,
    };
    CreateAclsRequest { creations: vec![creation] }
}

#[tokio::test]
async fn nothing_is_answered_before_authentication_but_what_leads_to_it() {
    let dir = tempfile::tempdir().unwrap();
    let broker = with_sasl(&dir, &[]).await;
    let mut wire = Wire::connect(broker.address()).await;
    let versions =
        ApiVersionsRequest { client_software_name: "wire".into(), client_software_version: "1".into() };
    assert_eq!(wire.call(3, &versions).await.error_code, 0);
    wire.send(12, 9, &MetadataRequest::default()).await;
    assert!(is_closed(&mut wire).await);
    // Large requests are for those who have shown who they are.
    let mut wire = Wire::connect(broker.address()).await;
    wire.send_raw(&600_000i32.to_be_bytes()).await;
    assert!(is_closed(&mut wire).await);
    broker.shutdown().await.unwrap();
}

#[tokio::test]
async fn a_wrong_password_is_told_and_ends_the_connection() {
    let dir = tempfile::tempdir().unwrap();
    let broker = with_sasl(&dir, &[]).await;
    for (mechanism, message) in [("PLAIN", "\0alice\0wrong"), ("SCRAM-SHA-256", "n,,n=,r=x")] {
        let mut wire = Wire::connect(broker.address()).await;
        assert_eq!(handshake(&mut wire, mechanism).await.error_code, 0);
        let answer = authenticate(&mut wire, message).await;
        assert_eq!(answer.error_code, ErrorCode::SaslAuthenticationFailed.code());
        assert!(!answer.error_message.unwrap().contains("wrong"));
        assert!(is_closed(&mut wire).await);
    }
    let mut wire = Wire::connect(broker.address()).await;
    let answer = handshake(&mut wire, "GSSAPI").await;
    assert_eq!(answer.error_code, ErrorCode::UnsupportedSaslMechanism.code());
    assert_eq!(answer.mechanisms, ["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"]);
    assert!(is_closed(&mut wire).await);
    let text = broker.context().metrics.render(Default::default());
    assert!(text.contains("ottla_authentications_failed_total 2"), "{text}");
    broker.shutdown().await.unwrap();
}

#[tokio::test]
async fn a_scram_credential_lets_its_user_in_and_outlives_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let mut broker = with_sasl(&dir, &[]).await;
    let (mechanism, salt) = (ScramMechanism::Sha512, Bytes::from_static(b"salt of bob"));
    let salted = SaltedPassword::derive(mechanism, "bob-secret", &salt, 4096);
    let mut admin = logged_in(broker.address(), "admin").await;
    let upsertion = ScramCredentialUpsertion {
        name: "bob".into(),
        mechanism: mechanism.code(),
        iterations: 4096,
        salt: salt.clone(),
        salted_password: salted.to_bytes(),
    };
    let request = AlterUserScramCredentialsRequest { upsertions: vec![upsertion], deletions: vec![] };
    assert_eq!(admin.call(0, &request).await.results[0].error_code, 0);
    for restarted in [false, true] {
        if restarted {
            broker.shutdown().await.unwrap();
            broker = with_sasl(&dir, &[]).await;
        }
        let mut wire = Wire::connect(broker.address()).await;
        assert_eq!(handshake(&mut wire, "SCRAM-SHA-512").await.error_code, 0);
        let first = authenticate(&mut wire, "n,,n=bob,r=nonce").await;
        assert_eq!(first.error_code, 0);
        let client = ScramClient::new(mechanism, "bob", Secret::new("bob-secret"), "nonce".to_owned());
        let (last, verifier) = client.last(&first.auth_bytes).unwrap();
        let answer = authenticate(&mut wire, last.clone()).await;
        assert_eq!(answer.error_code, 0, "{:?}", answer.error_message);
        assert_eq!(answer.auth_bytes, verifier, "the broker knows the password too");
        assert_eq!(wire.call(12, &MetadataRequest::default()).await.brokers.len(), 1);
        // The same messages prove nothing another time.
        let mut replay = Wire::connect(broker.address()).await;
        handshake(&mut replay, "SCRAM-SHA-512").await;
        authenticate(&mut replay, "n,,n=bob,r=nonce").await;
        let answer = authenticate(&mut replay, last).await;
        assert_eq!(answer.error_code, ErrorCode::SaslAuthenticationFailed.code());
    }
    broker.shutdown().await.unwrap();
}

#[tokio::test]
async fn clients_before_1_0_send_their_messages_without_headers() {
    let dir = tempfile::tempdir().unwrap();
    let broker = with_sasl(&dir, &[]).await;
    let begin = async |mechanism: &str| {
        let mut wire = Wire::connect(broker.address()).await;
        let request = SaslHandshakeRequest { mechanism: mechanism.into() };
        assert_eq!(wire.call(0, &request).await.error_code, 0);
        wire
    };
    let token = |text: &str| [&(text.len() as i32).to_be_bytes(), text.as_bytes()].concat();
    let mut wire = begin("PLAIN").await;
    wire.send_raw(&token("\0admin\0admin-secret")).await;
    assert_eq!(wire.receive_raw().await.unwrap().len(), 0);
    assert_eq!(wire.call(12, &MetadataRequest::default()).await.brokers.len(), 1);
    // Who is wrong is told nothing.
    for (mechanism, message) in [("PLAIN", "\0admin\0wrong"), ("SCRAM-SHA-256", "nonsense")] {
        let mut wire = begin(mechanism).await;
        wire.send_raw(&token(message)).await;
        assert!(is_closed(&mut wire).await, "{mechanism}");
    }
    let mut wire = begin("SCRAM-SHA-256").await;
    wire.send_raw(&token("n,,n=nobody,r=nonce")).await;
    assert!(wire.receive_raw().await.unwrap().starts_with(b"r=nonce"));
    wire.send(12, 9, &MetadataRequest::default()).await;
    assert!(is_closed(&mut wire).await, "a request amid the exchange");
    let text = broker.context().metrics.render(Default::default());
    assert!(text.contains("ottla_authentications_failed_total 3"), "{text}");
    broker.shutdown().await.unwrap();
}

#[tokio::test]
async fn who_is_not_believed_is_counted_and_nobody_else_notices() {
    let dir = tempfile::tempdir().unwrap();
    let tokens = authority::TokenIssuer::new();
    let jwks = dir.path().join("jwks.json");
    std::fs::write(&jwks, &tokens.jwks).unwrap();
    let url = format!("file://{}", jwks.display());
    let settings = [
        ("sasl.enabled.mechanisms", "PLAIN,SCRAM-SHA-256,OAUTHBEARER"),
        ("sasl.oauthbearer.jwks.endpoint.url", &url),
        ("sasl.oauthbearer.expected.issuer", "https://issuer"),
        ("sasl.oauthbearer.expected.audience", "ottla"),
    ];
    let broker = with_sasl(&dir, &settings).await;
    let mut admin = logged_in(broker.address(), "admin").await;
    let bearer = |token: String| format!("n,,\u{1}auth=Bearer {token}\u{1}\u{1}");
    let foreign = authority::TokenIssuer::new().token("admin", 300);
    let failed = ErrorCode::SaslAuthenticationFailed.code();
    let mut refused = 0;
    // Expired; signed by somebody else; for another user than the one it is about (KIP-255); none at all.
    let valid = tokens.token("alice", 300);
    for message in [
        bearer(tokens.token("admin", -300)),
        bearer(foreign),
        format!("n,a=admin,\u{1}auth=Bearer {valid}\u{1}\u{1}"),
        bearer(String::new()),
    ] {
        let mut wire = Wire::connect(broker.address()).await;
        handshake(&mut wire, "OAUTHBEARER").await;
        let first = authenticate(&mut wire, message.clone()).await;
        if first.error_code == 0 {
            assert!(first.auth_bytes.starts_with(b"{"), "{message}");
            assert_eq!(authenticate(&mut wire, "\u{1}").await.error_code, failed, "{message}");
        } else {
            assert_eq!(first.error_code, failed, "{message}");
        }
        assert!(is_closed(&mut wire).await);
        refused += 1;
    }
    // A request that speaks for another principal by PLAIN's authorization id.
    let mut wire = Wire::connect(broker.address()).await;
    handshake(&mut wire, "PLAIN").await;
    assert_eq!(authenticate(&mut wire, "admin\0alice\0alice-secret").await.error_code, failed);
    refused += 1;
    // An exchange begun twice, and one that was never begun.
    let illegal = ErrorCode::IllegalSaslState.code();
    let mut wire = Wire::connect(broker.address()).await;
    handshake(&mut wire, "PLAIN").await;
    assert_eq!(handshake(&mut wire, "PLAIN").await.error_code, illegal);
    let mut wire = Wire::connect(broker.address()).await;
    assert_eq!(authenticate(&mut wire, "\0alice\0alice-secret").await.error_code, illegal);
    refused += 1;
    // A session cannot be renewed as somebody else.
    let mut wire = logged_in(broker.address(), "alice").await;
    handshake(&mut wire, "PLAIN").await;
    assert_eq!(authenticate(&mut wire, "\0admin\0admin-secret").await.error_code, failed);
    refused += 1;
    assert_eq!(admin.call(12, &MetadataRequest::default()).await.brokers.len(), 1);
    let text = broker.context().metrics.render(Default::default());
    assert!(text.contains(&format!("ottla_authentications_failed_total {refused}")), "{text}");
    broker.shutdown().await.unwrap();
}

#[tokio::test]
async fn a_session_that_is_not_renewed_ends() {
    let dir = tempfile::tempdir().unwrap();
    let broker = with_sasl(&dir, &[("connections.max.reauth.ms", "3000")]).await;
    let mut wire = Wire::connect(broker.address()).await;
    handshake(&mut wire, "PLAIN").await;
    let answer = authenticate(&mut wire, "\0admin\0admin-secret").await;
    assert_eq!(answer.session_lifetime_ms, 3000);
    tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    handshake(&mut wire, "PLAIN").await;
    assert_eq!(authenticate(&mut wire, "\0admin\0admin-secret").await.error_code, 0);
    assert_eq!(wire.call(12, &MetadataRequest::default()).await.brokers.len(), 1);
    tokio::time::sleep(std::time::Duration::from_millis(3100)).await;
    wire.send(12, 9, &MetadataRequest::default()).await;
    assert!(is_closed(&mut wire).await);
    broker.shutdown().await.unwrap();
}

#[tokio::test]
async fn whoever_has_no_permission_sees_nothing_and_changes_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let broker = with_sasl(&dir, &[]).await;
    let mut admin = logged_in(broker.address(), "admin").await;
    let mut alice = logged_in(broker.address(), "alice").await;
    assert_eq!(admin.call(7, &wire::requests::create("t")).await.topics[0].error_code, 0);
    let denied = ErrorCode::TopicAuthorizationFailed.code();
    assert_eq!(alice.call(7, &wire::requests::create("other")).await.topics[0].error_code, denied);
    let all = MetadataRequest { topics: None, ..MetadataRequest::default() };
    assert!(alice.call(12, &all).await.topics.is_empty(), "what is not hers is not shown");
    let named = MetadataRequest {
        topics: Some(vec![k03_metadata::MetadataRequestTopic {
            name: Some("t".into()),
            ..Default::default()
        }]),
        ..MetadataRequest::default()
    };
    assert_eq!(alice.call(12, &named).await.topics[0].error_code, denied);
    let cluster = ErrorCode::ClusterAuthorizationFailed.code();
    assert_eq!(alice.call(3, &allow("User:alice", 2, (2, "t"))).await.results[0].error_code, cluster);
    let init = InitProducerIdRequest::default();
    assert_eq!(alice.call(4, &init).await.error_code, cluster);

    assert_eq!(admin.call(3, &allow("User:alice", 3, (2, "t"))).await.results[0].error_code, 0);
    assert_eq!(alice.call(12, &named).await.topics[0].error_code, 0, "who may read may describe");
    assert_eq!(alice.call(12, &all).await.topics.len(), 1);
    assert_eq!(alice.call(4, &init).await.error_code, cluster);
    let produce = wire::requests::produce("t", wire::requests::batch(&["x"], None), 1);
    assert_eq!(alice.call(9, &produce).await.responses[0].partition_responses[0].error_code, denied);
    assert_eq!(admin.call(3, &allow("User:alice", 4, (2, "t"))).await.results[0].error_code, 0);
    assert_eq!(alice.call(9, &produce).await.responses[0].partition_responses[0].error_code, 0);
    assert_eq!(alice.call(4, &init).await.error_code, 0, "who may write somewhere may do so idempotently");

    let join = JoinGroupRequest { group_id: "g".into(), ..JoinGroupRequest::default() };
    assert_eq!(alice.call(5, &join).await.error_code, ErrorCode::GroupAuthorizationFailed.code());
    let text = broker.context().metrics.render(Default::default());
    assert!(text.contains("ottla_authorizations_denied_total"), "{text}");
    broker.shutdown().await.unwrap();
}

/// Asks for all topics over TLS; the error is the end of the connection.
async fn topics_over(
    stream: &mut tokio_rustls::client::TlsStream<TcpStream>,
) -> std::io::Result<MetadataResponse> {
    let header = ottla_protocol::RequestHeader {
        api_key: ottla_protocol::ApiKey::Metadata,
        api_version: 12,
        correlation_id: 1,
        client_id: None,
    };
    let all = MetadataRequest { topics: None, ..MetadataRequest::default() };
    stream.write_all(&ottla_protocol::frame::encode_request(&header, &all).unwrap()).await?;
    let mut frame = vec![0; stream.read_i32().await? as usize];
    stream.read_exact(&mut frame).await?;
    let (_, answer) = ottla_protocol::frame::decode_response::<MetadataRequest>(frame.into(), 12).unwrap();
    Ok(answer)
}

#[tokio::test]
async fn a_client_is_whom_its_certificate_names() {
    let dir = tempfile::tempdir().unwrap();
    let authority = Authority::new();
    let (key, certificate) = authority.certify("server");
    let (server, trust) = (dir.path().join("server.pem"), dir.path().join("trust.pem"));
    std::fs::write(&server, format!("{key}{certificate}")).unwrap();
    std::fs::write(&trust, &authority.certificate).unwrap();
    let broker = started(
        &dir,
        &[
            ("listeners", "SSL://127.0.0.1:0"),
            ("ssl.keystore.type", "PEM"),
            ("ssl.keystore.location", server.to_str().unwrap()),
            ("ssl.truststore.type", "PEM"),
            ("ssl.truststore.location", trust.to_str().unwrap()),
            ("ssl.client.auth", "required"),
            ("ssl.principal.mapping.rules", "RULE:^CN=([^,]*).*$/$1/L,DEFAULT"),
            AUTHORIZER,
            ("super.users", "User:admin"),
        ],
    )
    .await;
    let context = broker.context();
    context
        .controller
        .create_topics(
            vec![ottla_broker::controller::CreateTopic {
                name: "t".into(),
                partitions: 1,
                replication_factor: 1,
                ..Default::default()
            }],
            false,
        )
        .await;
    for (name, topics) in [("Admin", 1), ("Alice", 0)] {
        let mut stream = authority.connect(broker.address(), Some(&authority.certify(name))).await.unwrap();
        assert_eq!(topics_over(&mut stream).await.unwrap().topics.len(), topics, "{name}");
    }
    // TLS 1.3 tells a client only with its first answer that it should have shown a certificate.
    let other = Authority::new().certify("Admin");
    for client in [None, Some(&other)] {
        let refused = match authority.connect(broker.address(), client).await {
            Ok(mut stream) => topics_over(&mut stream).await.is_err(),
            Err(_) => true,
        };
        assert!(refused, "{client:?}");
    }
    broker.shutdown().await.unwrap();
}

#[tokio::test]
async fn records_come_over_tls_as_they_are_stored() {
    let dir = tempfile::tempdir().unwrap();
    let authority = Authority::new();
    let (key, certificate) = authority.certify("server");
    let server = dir.path().join("server.pem");
    std::fs::write(&server, format!("{key}{certificate}")).unwrap();
    let settings = [
        ("listeners", "PLAINTEXT://127.0.0.1:0,SSL://127.0.0.1:0"),
        ("ssl.keystore.type", "PEM"),
        ("ssl.keystore.location", server.to_str().unwrap()),
    ];
    let broker = started(&dir, &settings).await;
    let mut wire = Wire::connect(broker.address()).await;
    wire.call(7, &wire::requests::create("t")).await;
    // More than one piece of what is read for TLS at a time, and too much to be copied.
    let value = "7".repeat(700_000);
    let produce = wire::requests::produce("t", wire::requests::batch(&[&value], None), 1);
    assert_eq!(wire.call(9, &produce).await.responses[0].partition_responses[0].error_code, 0);
    let fetch = wire::requests::fetch("t", 0, 0);
    let plain = wire.call(11, &fetch).await.responses[0].partitions[0].records.clone();
    let mut stream = authority.connect(broker.addresses()[1].1, None).await.unwrap();
    let header = ottla_protocol::RequestHeader {
        api_key: ottla_protocol::ApiKey::Fetch,
        api_version: 11,
        correlation_id: 1,
        client_id: None,
    };
    stream.write_all(&ottla_protocol::frame::encode_request(&header, &fetch).unwrap()).await.unwrap();
    let mut frame = vec![0; stream.read_i32().await.unwrap() as usize];
    stream.read_exact(&mut frame).await.unwrap();
    let (_, answer) = ottla_protocol::frame::decode_response::<FetchRequest>(frame.into(), 11).unwrap();
    assert_eq!(answer.responses[0].partitions[0].records, plain);
    assert!(plain.unwrap().len() > 700_000);
    broker.shutdown().await.unwrap();
}

#[tokio::test]
async fn entries_are_listed_and_removed_by_filters_and_without_an_authorizer_there_are_none() {
    let dir = tempfile::tempdir().unwrap();
    let broker = with_sasl(&dir, &[]).await;
    let mut admin = logged_in(broker.address(), "admin").await;
    for (principal, name) in [("User:alice", "t"), ("User:bob", "t"), ("User:bob", "u")] {
        assert_eq!(admin.call(3, &allow(principal, 3, (2, name))).await.results[0].error_code, 0);
    }
    let all = DescribeAclsRequest {
        resource_type_filter: 1,
        pattern_type_filter: 1,
        operation: 1,
        permission_type: 1,
        ..DescribeAclsRequest::default()
    };
    let listed = admin.call(3, &all).await;
    let counts: Vec<usize> = listed.resources.iter().map(|resource| resource.acls.len()).collect();
    assert_eq!((listed.error_code, counts), (0, vec![2, 1]));
    let of_bob = k31_delete_acls::DeleteAclsFilter {
        resource_type_filter: 1,
        pattern_type_filter: 1,
        principal_filter: Some("User:bob".into()),
        operation: 1,
        permission_type: 1,
        ..Default::default()
    };
    let unknown = k31_delete_acls::DeleteAclsFilter { operation: 0, ..of_bob.clone() };
    let removed = admin.call(3, &DeleteAclsRequest { filters: vec![of_bob, unknown] }).await.filter_results;
    assert_eq!(removed[0].matching_acls.len(), 2);
    assert_eq!(removed[1].error_code, ErrorCode::InvalidRequest.code());
    assert_eq!(admin.call(3, &all).await.resources.len(), 1);
    broker.shutdown().await.unwrap();

    let dir = tempfile::tempdir().unwrap();
    let broker = started(&dir, &[]).await;
    let mut wire = Wire::connect(broker.address()).await;
    let disabled = ErrorCode::SecurityDisabled.code();
    assert_eq!(wire.call(3, &all).await.error_code, disabled);
    assert_eq!(wire.call(3, &allow("User:a", 3, (2, "t"))).await.results[0].error_code, disabled);
    broker.shutdown().await.unwrap();
}

#[tokio::test]
async fn quotas_are_kept_and_found_by_their_entities() {
    use k48_describe_client_quotas::ComponentData;
    use k49_alter_client_quotas::{EntityData, EntryData, OpData};
    let dir = tempfile::tempdir().unwrap();
    let mut broker = started(&dir, &[]).await;
    let mut wire = Wire::connect(broker.address()).await;
    let entry = |user: Option<&str>, key: &str, value: f64| EntryData {
        entity: vec![EntityData { entity_type: "user".into(), entity_name: user.map(Into::into) }],
        ops: vec![OpData { key: key.into(), value, remove: false }],
    };
    let entries = vec![
        entry(Some("alice"), "producer_byte_rate", 1000.0),
        entry(None, "consumer_byte_rate", 2000.0),
        entry(Some("bob"), "of_nothing", 1.0),
    ];
    let answers = wire.call(1, &AlterClientQuotasRequest { entries, validate_only: false }).await.entries;
    let codes: Vec<i16> = answers.iter().map(|answer| answer.error_code).collect();
    assert_eq!(codes, [0, 0, ErrorCode::InvalidRequest.code()]);
    broker.shutdown().await.unwrap();
    broker = started(&dir, &[]).await;
    let mut wire = Wire::connect(broker.address()).await;
    for (match_type, name, expected) in [
        (0, Some("alice"), vec![1000.0]),
        (0, Some("bob"), vec![]),
        (1, None, vec![2000.0]),
        (2, None, vec![2000.0, 1000.0]),
    ] {
        let component =
            ComponentData { entity_type: "user".into(), match_type, match_name: name.map(Into::into) };
        let request = DescribeClientQuotasRequest { components: vec![component], strict: true };
        let found = wire.call(1, &request).await.entries.unwrap();
        let values: Vec<f64> =
            found.iter().flat_map(|entry| entry.values.iter().map(|value| value.value)).collect();
        assert_eq!(values, expected, "{match_type} {name:?}");
    }
    let users = DescribeUserScramCredentialsRequest { users: None };
    assert!(wire.call(0, &users).await.results.is_empty());
    broker.shutdown().await.unwrap();
}

#[tokio::test]
async fn a_transactional_id_is_for_those_who_may_write_with_it() {
    let dir = tempfile::tempdir().unwrap();
    let broker = with_sasl(&dir, &[]).await;
    let mut admin = logged_in(broker.address(), "admin").await;
    let mut alice = logged_in(broker.address(), "alice").await;
    admin.call(7, &wire::requests::create("t")).await;
    let init = InitProducerIdRequest {
        transactional_id: Some("x".into()),
        transaction_timeout_ms: 60_000,
        producer_id: -1,
        producer_epoch: -1,
    };
    let denied = ErrorCode::TransactionalIdAuthorizationFailed.code();
    assert_eq!(alice.call(4, &init).await.error_code, denied);
    let end = EndTxnRequest { transactional_id: "x".into(), ..EndTxnRequest::default() };
    assert_eq!(alice.call(3, &end).await.error_code, denied);
    let offsets =
        AddOffsetsToTxnRequest { transactional_id: "x".into(), ..AddOffsetsToTxnRequest::default() };
    assert_eq!(alice.call(3, &offsets).await.error_code, denied);
    let describe = DescribeTransactionsRequest { transactional_ids: vec!["x".into()] };
    assert_eq!(alice.call(0, &describe).await.transaction_states[0].error_code, denied);
    assert_eq!(admin.call(3, &allow("User:alice", 4, (5, "x"))).await.results[0].error_code, 0);
    let producer = loop {
        let answer = alice.call(4, &init).await;
        match ErrorCode::from_code(answer.error_code) {
            ErrorCode::None => break answer,
            // The topic of transactions is being made.
            code => assert!(code.is_retriable(), "{code:?}"),
        }
    };
    let add = AddPartitionsToTxnRequest {
        v3_and_below_transactional_id: "x".into(),
        v3_and_below_producer_id: producer.producer_id,
        v3_and_below_producer_epoch: producer.producer_epoch,
        v3_and_below_topics: vec![k24_add_partitions_to_txn::AddPartitionsToTxnTopicV3 {
            name: "t".into(),
            partitions: vec![0],
        }],
        ..AddPartitionsToTxnRequest::default()
    };
    let answer = alice.call(3, &add).await;
    let code = answer.results_by_topic_v3_and_below[0].results_by_partition[0].partition_error_code;
    assert_eq!(code, ErrorCode::TopicAuthorizationFailed.code());
    let listed = ListTransactionsRequest { duration_filter: -1, ..ListTransactionsRequest::default() };
    let listed = loop {
        let answer = alice.call(1, &listed).await;
        match ErrorCode::from_code(answer.error_code) {
            ErrorCode::None => break answer,
            // Not all of its partitions have been read yet.
            code => assert!(code.is_retriable(), "{code:?}"),
        }
    };
    assert_eq!(listed.transaction_states.len(), 1);
    broker.shutdown().await.unwrap();
}

#[tokio::test]
async fn a_listener_that_nobody_uses_keeps_no_room_from_the_others() {
    let dir = tempfile::tempdir().unwrap();
    let settings = [
        ("listeners", "ONE://127.0.0.1:0,TWO://127.0.0.1:0"),
        ("listener.security.protocol.map", "ONE:PLAINTEXT,TWO:PLAINTEXT"),
        ("max.connections", "1"),
    ];
    let broker = started(&dir, &settings).await;
    for (_, address) in broker.addresses().iter().rev() {
        let mut wire = Wire::connect(*address).await;
        assert_eq!(wire.call(12, &MetadataRequest::default()).await.brokers.len(), 1);
    }
    broker.shutdown().await.unwrap();
}
