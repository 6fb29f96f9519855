//! A controller listener that asks who somebody is.

use ottla_broker::ids::Offset;
use ottla_broker::quorum::PeerAddress;
use ottla_client::{Client, ClientConfig, NewTopic, ProducerConfig, Record};
use ottla_protocol::frame::{RequestHeader, decode_response, encode_request};
use ottla_protocol::messages::k01_fetch::ReplicaState;
use ottla_protocol::messages::{
    BrokerHeartbeatRequest, FetchRequest, SaslAuthenticateRequest, SaslHandshakeRequest,
};
use ottla_protocol::{ErrorCode, Request};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::authority::Authority;
use crate::nodes::{Cluster, Node, all_know, leader_of, make, until};
use crate::registers::all_tell_of;

/// What a node says of itself, and whom it knows.
const USERS: &str = "PlainLoginModule required username=\"node\" password=\"deep\" user_node=\"deep\" user_guest=\"shallow\";";

async fn start(cluster: &Cluster, settings: &[(&str, &str)]) -> Vec<Node> {
    let configs = (1..=3).map(|id| {
        let mut config = cluster.config(id);
        for (name, value) in settings {
            config.set(name, value).unwrap_or_else(|error| panic!("{name}: {error}"));
        }
        async move { Node::start(&config).await.unwrap() }
    });
    let nodes = futures::future::join_all(configs).await;
    all_tell_of(&nodes).await;
    nodes
}

fn frame<R: Request>(version: i16, request: &R) -> Vec<u8> {
    let header =
        RequestHeader { api_key: R::API_KEY, api_version: version, correlation_id: 1, client_id: None };
    encode_request(&header, request).unwrap().to_vec()
}

/// What a node says of itself, which is answered whatever is wrong with it.
fn heartbeat() -> Vec<u8> {
    frame(1, &BrokerHeartbeatRequest::default())
}

async fn ask<R: Request>(
    stream: &mut (impl AsyncRead + AsyncWrite + Unpin),
    version: i16,
    request: &R,
) -> R::Response {
    stream.write_all(&frame(version, request)).await.unwrap();
    let length = stream.read_i32().await.unwrap();
    let mut bytes = vec![0; length as usize];
    stream.read_exact(&mut bytes).await.unwrap();
    decode_response::<R>(bytes.into(), version).unwrap().1
}

/// Whether what it says is answered with nothing but the end of the connection, of which TLS says why.
async fn is_closed(mut stream: impl AsyncRead + AsyncWrite + Unpin, said: &[u8]) -> bool {
    let mut rest = Vec::new();
    // The other end may be faster.
    let _ = stream.write_all(said).await;
    let _ = stream.read_to_end(&mut rest).await;
    const ALERT: u8 = 21;
    rest.first().is_none_or(|first| *first == ALERT)
}

async fn connect(controller: &PeerAddress) -> TcpStream {
    TcpStream::connect((controller.host.as_str(), controller.port)).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn controllers_know_each_other_by_their_certificates_and_nobody_else_votes() {
    let authority = Authority::new();
    let (key, certificate) = authority.certify("node");
    let mut cluster = Cluster::of(3);
    // Which the certificates are of.
    cluster.controllers.iter_mut().for_each(|controller| controller.host = "localhost".to_owned());
    let nodes = start(
        &cluster,
        &[
            ("listener.security.protocol.map", "CONTROLLER:SSL,PLAINTEXT:PLAINTEXT"),
            ("listener.name.controller.ssl.keystore.key", &key),
            ("listener.name.controller.ssl.keystore.certificate.chain", &certificate),
            ("listener.name.controller.ssl.truststore.certificates", &authority.certificate),
            ("listener.name.controller.ssl.client.auth", "required"),
            ("authorizer.class.name", "org.apache.kafka.metadata.authorizer.StandardAuthorizer"),
            ("super.users", "User:CN=node;User:ANONYMOUS"),
        ],
    )
    .await;
    make(&nodes, "before").await;
    let leader = leader_of(&nodes).await;
    let controller = &cluster.controllers[leader];
    let address = connect(controller).await.peer_addr().unwrap();
    assert!(is_closed(connect(controller).await, &heartbeat()).await, "in plaintext");
    if let Ok(stream) = authority.connect(address, None).await {
        assert!(is_closed(stream, &heartbeat()).await, "without a certificate");
    }
    let guest = authority.certify("guest");
    let stream = authority.connect(address, Some(&guest)).await.unwrap();
    assert!(is_closed(stream, &heartbeat()).await, "somebody whom the authority knows, but who is no node");
    let mut node = authority.connect(address, Some(&(key, certificate))).await.unwrap();
    let answer = ask(&mut node, 1, &BrokerHeartbeatRequest::default()).await;
    assert_ne!(answer.error_code, 0, "a node is listened to, and is one that there is not here");
    make(&nodes, "undisturbed").await;
    all_know(&nodes, &["before", "undisturbed"]).await;
    assert_eq!(leader_of(&nodes).await, leader);
}

#[tokio::test(flavor = "multi_thread")]
async fn controllers_know_each_other_by_name_and_password() {
    let cluster = Cluster::of(3);
    let nodes = start(
        &cluster,
        &[
            ("listener.security.protocol.map", "CONTROLLER:SASL_PLAINTEXT,PLAINTEXT:PLAINTEXT"),
            ("listener.name.controller.sasl.enabled.mechanisms", "PLAIN"),
            ("sasl.mechanism.controller.protocol", "PLAIN"),
            ("listener.name.controller.plain.sasl.jaas.config", USERS),
            ("authorizer.class.name", "org.apache.kafka.metadata.authorizer.StandardAuthorizer"),
            ("super.users", "User:node;User:ANONYMOUS"),
        ],
    )
    .await;
    make(&nodes, "before").await;
    let leader = leader_of(&nodes).await;
    let controller = &cluster.controllers[leader];
    assert!(is_closed(connect(controller).await, &heartbeat()).await, "before it is said who asks");
    for (name, password, is_known) in [("node", "shallow", false), ("guest", "shallow", true)] {
        let mut stream = connect(controller).await;
        let wanted = SaslHandshakeRequest { mechanism: "PLAIN".into() };
        assert_eq!(ask(&mut stream, 1, &wanted).await.error_code, 0);
        let auth_bytes = format!("\0{name}\0{password}").into_bytes().into();
        let answer = ask(&mut stream, 2, &SaslAuthenticateRequest { auth_bytes }).await;
        assert_eq!(answer.error_code == 0, is_known, "{name}");
        assert!(is_closed(stream, &heartbeat()).await, "{name} is no node");
    }
    make(&nodes, "undisturbed").await;
    assert_eq!(leader_of(&nodes).await, leader);
}

#[tokio::test(flavor = "multi_thread")]
async fn brokers_copy_from_each_other_by_name_and_password_and_nobody_else_does() {
    let cluster = Cluster::of(3);
    let nodes = start(
        &cluster,
        &[
            ("listeners", "LOCAL://127.0.0.1:0,INSIDE://127.0.0.1:0"),
            ("listener.security.protocol.map", "CONTROLLER:PLAINTEXT,LOCAL:PLAINTEXT,INSIDE:SASL_PLAINTEXT"),
            ("inter.broker.listener.name", "INSIDE"),
            ("sasl.mechanism.inter.broker.protocol", "PLAIN"),
            ("listener.name.inside.sasl.enabled.mechanisms", "PLAIN"),
            ("listener.name.inside.plain.sasl.jaas.config", USERS),
            ("connection.failed.authentication.delay.ms", "1"),
            ("authorizer.class.name", "org.apache.kafka.metadata.authorizer.StandardAuthorizer"),
            ("super.users", "User:node;User:ANONYMOUS"),
        ],
    )
    .await;
    let bootstrap_servers = nodes.iter().map(|node| node.address().to_string()).collect();
    let client =
        Client::connect(ClientConfig { bootstrap_servers, ..ClientConfig::default() }).await.unwrap();
    let topic = NewTopic { replication_factor: 3, ..NewTopic::new("copied", 6) };
    client.admin().create_topics(&[topic]).await.unwrap();
    // Markers too go from broker to broker.
    let config = ProducerConfig { transactional_id: Some("mover".to_owned()), ..ProducerConfig::default() };
    let producer = client.producer(config).await.unwrap();
    producer.init_transactions().await.unwrap();
    producer.begin_transaction().unwrap();
    for partition in 0..6 {
        producer.send("copied", Some(partition), Record::of_value("x")).await.unwrap().await.unwrap();
    }
    producer.commit_transaction().await.unwrap();
    until("every replica has the record, the marker and who is in sync", async || {
        nodes.iter().all(|node| {
            let is_there = |partition| {
                let open = node.partitions().get("copied", partition);
                open.is_some_and(|open| {
                    open.partition.high_watermark() == Offset(2) && open.leader_and_isr.isr.len() == 3
                })
            };
            (0..6).all(is_there)
        })
    })
    .await;
    // A part of a node's own process is at the other brokers as the node is.
    let config = ClientConfig { bootstrap_servers: vec!["0.0.0.0:1".to_owned()], ..ClientConfig::default() };
    let own = Client::connect_with(config, nodes[0].in_process()).await.unwrap();
    let producer = own.producer(ProducerConfig::default()).await.unwrap();
    for partition in 0..6 {
        producer.send("copied", Some(partition), Record::of_value("y")).await.unwrap().await.unwrap();
    }
    let inside = nodes[0].address_of("INSIDE");
    assert!(is_closed(TcpStream::connect(inside).await.unwrap(), &frame(17, &as_follower())).await);
    let mut guest = TcpStream::connect(inside).await.unwrap();
    assert_eq!(ask(&mut guest, 1, &SaslHandshakeRequest { mechanism: "PLAIN".into() }).await.error_code, 0);
    let auth_bytes = bytes::Bytes::from_static(b"\0guest\0shallow");
    assert_eq!(ask(&mut guest, 2, &SaslAuthenticateRequest { auth_bytes }).await.error_code, 0);
    let answer = ask(&mut guest, 17, &as_follower()).await;
    assert_eq!(ErrorCode::from_code(answer.error_code), ErrorCode::ClusterAuthorizationFailed);
}

/// A fetch of one who says that it is a broker.
fn as_follower() -> FetchRequest {
    let replica_state = ReplicaState { replica_id: 2, replica_epoch: -1 };
    FetchRequest { replica_state, max_bytes: 1 << 20, ..FetchRequest::default() }
}
