# Sourced by kafka.sh: an authority, the certificates and tokens that it gave out, Kafka's settings for listeners that ask for
# them, and the properties of clients that come in there, or do not. Uses $work, $port, $sasl_port, $ssl_port and $root.

mkdir -p "$work/clients"
certify() { # NAME AUTHORITY
    openssl req -newkey rsa:2048 -nodes -keyout "$work/$1.key" -out "$work/$1.csr" -subj "/O=Example/CN=$1" 2>/dev/null
    openssl x509 -req -in "$work/$1.csr" -CA "$work/$2.pem" -CAkey "$work/$2.key" -CAcreateserial -days 2 \
        -extfile <(echo "subjectAltName=DNS:localhost") -out "$work/$1.crt" 2>/dev/null
    cat "$work/$1.key" "$work/$1.crt" >"$work/$1.pem"
}
for authority in ca stranger-ca; do
    openssl req -x509 -newkey rsa:2048 -nodes -keyout "$work/$authority.key" -out "$work/$authority.pem" -days 2 \
        -subj "/CN=$authority" 2>/dev/null
done
certify server ca
certify carol ca
certify stranger stranger-ca
openssl genrsa -out "$work/token.key" 2048 2>/dev/null
tokens() { python3 "$root/tests/conformance/security_clients.py" "$1" "$work" "${@:2}"; }
tokens jwks
tokens token 600 >"$work/token"

plain=org.apache.kafka.common.security.plain.PlainLoginModule
scram=org.apache.kafka.common.security.scram.ScramLoginModule
oauth=org.apache.kafka.common.security.oauthbearer.OAuthBearerLoginModule

secured_properties() {
    cat <<PROPERTIES
listeners=PLAINTEXT://127.0.0.1:$port,CONTROLLER://127.0.0.1:$((port + 1)),SASL_SSL://127.0.0.1:$sasl_port,SSL://127.0.0.1:$ssl_port
advertised.listeners=PLAINTEXT://127.0.0.1:$port,SASL_SSL://localhost:$sasl_port,SSL://localhost:$ssl_port
listener.security.protocol.map=CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT,SASL_SSL:SASL_SSL,SSL:SSL
inter.broker.listener.name=PLAINTEXT
ssl.keystore.type=PEM
ssl.keystore.location=$work/server.pem
ssl.truststore.type=PEM
ssl.truststore.location=$work/ca.pem
listener.name.ssl.ssl.client.auth=required
listener.name.sasl_ssl.sasl.enabled.mechanisms=PLAIN,SCRAM-SHA-256,SCRAM-SHA-512,OAUTHBEARER
listener.name.sasl_ssl.plain.sasl.jaas.config=$plain required user_alice="plain-secret";
listener.name.sasl_ssl.scram-sha-256.sasl.jaas.config=$scram required;
listener.name.sasl_ssl.scram-sha-512.sasl.jaas.config=$scram required;
listener.name.sasl_ssl.oauthbearer.sasl.jaas.config=$oauth required;
listener.name.sasl_ssl.oauthbearer.sasl.server.callback.handler.class=org.apache.kafka.common.security.oauthbearer.OAuthBearerValidatorCallbackHandler
sasl.oauthbearer.jwks.endpoint.url=file://$work/jwks.json
sasl.oauthbearer.expected.audience=ottla
sasl.oauthbearer.expected.issuer=https://issuer.example
listener.name.sasl_ssl.plain.connections.max.reauth.ms=2000
listener.name.sasl_ssl.scram-sha-256.connections.max.reauth.ms=2000
listener.name.sasl_ssl.scram-sha-512.connections.max.reauth.ms=2000
listener.name.sasl_ssl.oauthbearer.connections.max.reauth.ms=2000
transaction.abort.timed.out.transaction.cleanup.interval.ms=1000
PROPERTIES
}

# client NAME: the properties on standard input, of a client that trusts the authority.
client() {
    { cat; echo "ssl.truststore.type=PEM"; echo "ssl.truststore.location=$work/${trust:-ca}.pem"; } >"$work/clients/$1"
}
sasl_client() { # NAME MECHANISM MODULE PASSWORD
    client "$1" <<PROPERTIES
bootstrap.servers=localhost:$sasl_port
security.protocol=SASL_SSL
sasl.mechanism=$2
sasl.jaas.config=$3 required username="alice" password="$4";
PROPERTIES
}
token_client() { # NAME TOKEN
    client "$1" <<PROPERTIES
bootstrap.servers=localhost:$sasl_port
security.protocol=SASL_SSL
sasl.mechanism=OAUTHBEARER
sasl.oauthbearer.token.endpoint.url=file://$work/$2
PROPERTIES
}
certificate_client() { # NAME HOST CERTIFICATE
    client "$1" <<PROPERTIES
bootstrap.servers=$2:$ssl_port
security.protocol=SSL
ssl.keystore.type=PEM
ssl.keystore.location=$work/$3.pem
PROPERTIES
}
sasl_client works-plain PLAIN $plain plain-secret
sasl_client works-scram-256 SCRAM-SHA-256 $scram scram-secret
sasl_client works-scram-512 SCRAM-SHA-512 $scram scram-secret
token_client works-token token
certificate_client works-certificate localhost carol
sasl_client refused-plain PLAIN $plain wrong-secret
sasl_client refused-scram SCRAM-SHA-256 $scram wrong-secret
certificate_client refused-certificate localhost stranger
certificate_client refused-host 127.0.0.1 carol
trust=stranger-ca certificate_client refused-authority localhost carol
