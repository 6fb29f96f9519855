//! Ottla's own client where the broker asks who it is: TLS, certificates, SASL, and sessions that end.

mod authority;

use std::path::Path;
use std::time::{Duration, Instant};

use authority::{Authority, TokenIssuer};
use ottla_broker::{Broker, BrokerConfig};
use ottla_client::security::{ScramMechanism, parse_properties};
use ottla_client::{
    Client, ClientConfig, ClientError, ConsumerConfig, OFFSET_EARLIEST, ProducerConfig, Record,
    TopicPartition,
};

const PASSWORD: &str = "a \"quoted\"; p4ssword";
const USERS: &str = "PlainLoginModule required user_alice=\"a \\\"quoted\\\"; p4ssword\";";

/// A broker with a listener for this machine alone, one that wants passwords or tokens, and one that wants certificates.
struct Secured {
    dir: tempfile::TempDir,
    broker: Broker,
    tokens: TokenIssuer,
}

impl Secured {
    async fn start(more: &[(&str, &str)]) -> Secured {
        let dir = tempfile::tempdir().unwrap();
        let (authority, stranger, tokens) = (Authority::new(), Authority::new(), TokenIssuer::new());
        let file = |name: &str, text: &str| {
            let path = dir.path().join(name);
            std::fs::write(&path, text).unwrap();
            path.to_str().unwrap().to_owned()
        };
        let both = |(key, certificate): (String, String)| format!("{key}{certificate}");
        let server = file("server.pem", &both(authority.certify("server")));
        let trust = file("trust.pem", &authority.certificate);
        file("client.pem", &both(authority.certify("carol")));
        file("stranger.pem", &both(stranger.certify("carol")));
        file("strangers-trust.pem", &stranger.certificate);
        file("token", &tokens.token("bob", 300));
        file("expired-token", &tokens.token("bob", -300));
        let keys = format!("file://{}", file("jwks.json", &tokens.jwks));
        let mut config = BrokerConfig::new(dir.path().join("data"));
        let settings = [
            ("listeners", "LOCAL://127.0.0.1:0,SASL_SSL://127.0.0.1:0,SSL://127.0.0.1:0"),
            ("listener.security.protocol.map", "LOCAL:PLAINTEXT,SASL_SSL:SASL_SSL,SSL:SSL"),
            ("advertised.listeners", "SASL_SSL://localhost,SSL://localhost"),
            ("ssl.keystore.type", "PEM"),
            ("ssl.keystore.location", &server),
            ("ssl.truststore.type", "PEM"),
            ("ssl.truststore.location", &trust),
            ("listener.name.ssl.ssl.client.auth", "required"),
            ("sasl.enabled.mechanisms", "PLAIN,SCRAM-SHA-256,SCRAM-SHA-512,OAUTHBEARER"),
            ("listener.name.sasl_ssl.plain.sasl.jaas.config", USERS),
            ("sasl.oauthbearer.jwks.endpoint.url", &keys),
            ("sasl.oauthbearer.expected.issuer", "https://issuer"),
            ("sasl.oauthbearer.expected.audience", "ottla"),
            ("connection.failed.authentication.delay.ms", "1"),
        ];
        for (name, value) in settings.iter().chain(more) {
            config.set(name, value).unwrap_or_else(|error| panic!("{name}: {error}"));
        }
        let broker = Broker::start(config).await.unwrap();
        let local = vec![broker.address().to_string()];
        let config = ClientConfig { bootstrap_servers: local, ..ClientConfig::default() };
        let admin = Client::connect(config).await.unwrap().admin();
        for mechanism in ScramMechanism::ALL {
            admin.set_scram_password("alice", mechanism, PASSWORD).await.unwrap();
        }
        Secured { dir, broker, tokens }
    }

    fn path(&self, name: &str) -> String {
        self.dir.path().join(name).display().to_string()
    }

    /// Connects to a listener as the properties say; `DIR` stands for the folder with the files.
    async fn connect(&self, listener: &str, host: &str, properties: &str) -> Result<Client, ClientError> {
        let addresses = self.broker.addresses();
        let address = addresses.iter().find(|(name, _)| &**name == listener).unwrap().1;
        let properties = properties.replace("DIR", self.dir.path().to_str().unwrap());
        let config = ClientConfig::default().with_properties(&parse_properties(&properties))?;
        let bootstrap_servers = vec![format!("{host}:{}", address.port())];
        Client::connect(ClientConfig { bootstrap_servers, ..config }).await
    }

    fn connections_opened(&self) -> u64 {
        let text = self.broker.context().metrics.render(Default::default());
        let line = text.lines().find(|line| line.starts_with("ottla_connections_opened_total ")).unwrap();
        line.rsplit(' ').next().unwrap().parse().unwrap()
    }
}

/// Properties of SASL over TLS.
fn sasl(mechanism: &str, module: &str) -> String {
    format!(
        "security.protocol=SASL_SSL\nssl.truststore.location=DIR/trust.pem\nsasl.mechanism={mechanism}\n\
         sasl.jaas.config={module} required username=\"alice\" password=\"a \\\\\"quoted\\\\\"; p4ssword\";\n"
    )
}

fn token(file: &str) -> String {
    format!(
        "security.protocol=SASL_SSL\nssl.truststore.location=DIR/trust.pem\nsasl.mechanism=OAUTHBEARER\n\
         sasl.oauthbearer.token.endpoint.url=file://DIR/{file}\n"
    )
}

async fn write_and_read(client: &Client, topic: &str) {
    let producer = client.producer(ProducerConfig::default()).await.unwrap();
    producer.send(topic, None, Record::new("k", "v")).await.unwrap().await.unwrap();
    producer.close().await.unwrap();
    let consumer = client.consumer(ConsumerConfig::default()).await.unwrap();
    consumer.assign(vec![(TopicPartition::new(topic, 0), OFFSET_EARLIEST)]).await.unwrap();
    let read = loop {
        if let Some(fetched) = consumer.poll(Duration::from_secs(5)).await.unwrap().pop() {
            break fetched.records.len();
        }
    };
    assert_eq!(read, 1, "{topic}");
}

#[tokio::test]
async fn a_client_comes_in_by_every_protocol_and_mechanism() {
    let secured = Secured::start(&[]).await;
    let trusting = "security.protocol=SSL\nssl.truststore.location=DIR/trust.pem\n";
    let mutual = format!("{trusting}ssl.keystore.location=DIR/client.pem\n");
    let nameless = format!("{mutual}ssl.endpoint.identification.algorithm=\n");
    let old = format!("{mutual}ssl.enabled.protocols=TLSv1.2\n");
    for (index, (listener, host, properties)) in [
        ("SASL_SSL", "localhost", sasl("PLAIN", "PlainLoginModule")),
        ("SASL_SSL", "localhost", sasl("SCRAM-SHA-256", "ScramLoginModule")),
        ("SASL_SSL", "localhost", sasl("SCRAM-SHA-512", "ScramLoginModule")),
        ("SASL_SSL", "localhost", token("token")),
        ("SSL", "localhost", mutual),
        ("SSL", "127.0.0.1", nameless),
        ("SSL", "localhost", old),
    ]
    .into_iter()
    .enumerate()
    {
        let client = secured.connect(listener, host, &properties).await;
        let client = client.unwrap_or_else(|error| panic!("{properties}: {error}"));
        write_and_read(&client, &format!("t{index}")).await;
    }
    secured.broker.shutdown().await.unwrap();
}

#[tokio::test]
async fn who_is_refused_learns_at_once_why_and_no_secret_is_told() {
    let secured = Secured::start(&[]).await;
    let right = sasl("SCRAM-SHA-256", "ScramLoginModule");
    let trusting = "security.protocol=SSL\nssl.truststore.location=DIR/trust.pem\n";
    let mistrusting = "security.protocol=SSL\nssl.truststore.location=DIR/strangers-trust.pem\n";
    for (listener, host, properties, expected) in [
        ("SASL_SSL", "localhost", right.replace("p4ssword", "p4sswort"), "SCRAM-SHA-256"),
        ("SASL_SSL", "localhost", right.replace("\"alice\"", "\"mallory\""), "SCRAM-SHA-256"),
        ("SASL_SSL", "localhost", sasl("PLAIN", "PlainLoginModule").replace("p4ssword", "p4sswort"), "PLAIN"),
        ("SASL_SSL", "localhost", token("expired-token"), "OAUTHBEARER"),
        ("SASL_SSL", "localhost", token("no-token"), "no-token"),
        ("SSL", "localhost", right.clone(), "TLS"),
        ("SSL", "localhost", trusting.to_owned(), "TLS"),
        ("SSL", "localhost", format!("{trusting}ssl.keystore.location=DIR/stranger.pem\n"), "TLS"),
        ("SSL", "localhost", mistrusting.to_owned(), "TLS"),
        ("SSL", "127.0.0.1", format!("{trusting}ssl.keystore.location=DIR/client.pem\n"), "TLS"),
        ("LOCAL", "127.0.0.1", right.replace("SASL_SSL", "SASL_PLAINTEXT"), "SASL"),
        ("SSL", "localhost", "security.protocol=SSL\nssl.truststore.location=DIR/nothing".into(), "nothing"),
    ] {
        let started_at = Instant::now();
        let Err(error) = secured.connect(listener, host, &properties).await else {
            panic!("{properties} came in");
        };
        let refused = matches!(
            error,
            ClientError::Tls { .. } | ClientError::Authentication { .. } | ClientError::InvalidConfig(_)
        );
        assert!(refused && error.to_string().contains(expected), "{properties}: {error}");
        assert!(!format!("{error:?} {error}").contains("p4ss"), "{error:?}");
        assert!(started_at.elapsed() < Duration::from_secs(30), "{properties}: it was tried again and again");
    }
    secured.broker.shutdown().await.unwrap();
}

#[tokio::test]
async fn sessions_are_renewed_amid_requests_and_no_connection_is_lost() {
    let secured = Secured::start(&[("connections.max.reauth.ms", "400")]).await;
    for properties in
        [sasl("SCRAM-SHA-512", "ScramLoginModule"), sasl("PLAIN", "PlainLoginModule"), token("token")]
    {
        let client = secured.connect("SASL_SSL", "localhost", &properties).await.unwrap();
        let config = ProducerConfig { linger: Duration::ZERO, ..ProducerConfig::default() };
        let producer = client.producer(config).await.unwrap();
        producer.send("t", Some(0), Record::of_value("first")).await.unwrap().await.unwrap();
        let before = secured.connections_opened();
        // Through several sessions, always with something under way.
        let until = Instant::now() + Duration::from_millis(1500);
        let mut under_way = Vec::new();
        while Instant::now() < until {
            under_way.push(producer.send("t", Some(0), Record::of_value("next")).await.unwrap());
            if under_way.len() == 20 {
                for delivery in under_way.drain(..) {
                    delivery.await.unwrap();
                }
            }
        }
        producer.close().await.unwrap();
        assert_eq!(secured.connections_opened(), before, "{properties}");
    }
    secured.broker.shutdown().await.unwrap();
}

#[tokio::test]
async fn a_token_that_is_not_renewed_ends_the_session_and_a_new_one_begins_another() {
    let secured = Secured::start(&[("sasl.oauthbearer.clock.skew.seconds", "0")]).await;
    let replace = |seconds: i64| {
        let path = secured.path("token");
        std::fs::write(Path::new(&path), secured.tokens.token("bob", seconds)).unwrap();
    };
    replace(2);
    let client = secured.connect("SASL_SSL", "localhost", &token("token")).await.unwrap();
    let admin = client.admin();
    let error = loop {
        match admin.list_topics().await {
            Ok(_) => tokio::time::sleep(Duration::from_millis(100)).await,
            Err(error) => break error,
        }
    };
    assert!(matches!(error, ClientError::Authentication { .. }), "{error}");
    replace(300);
    admin.list_topics().await.unwrap();
    secured.broker.shutdown().await.unwrap();
}
