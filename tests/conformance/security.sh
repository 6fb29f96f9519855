#!/usr/bin/env bash
# Clients show who they are and do what they may, over TLS and SASL: Apache Kafka's kafka-configs and kafka-acls make users
# and entries, librdkafka, kafka-python, aiokafka, kafkajs and Kafka's own console clients come in by SCRAM, PLAIN, tokens
# and certificates. Usage: security.sh [BINARY], where BINARY is `ottla` or the broker's example `serve` (default: `$OTTLA`,
# else the release build's ottla). Needs scripts/setup.sh to have run, and openssl.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
binary=${1:-${OTTLA:-${CARGO_TARGET_DIR:-$here/../../target}/release/ottla}}
cache=${OTTLA_CACHE:-$HOME/.cache/ottla}
libs=$("$here/../../scripts/kafka.sh")
work=$(mktemp -d)
server=
stop() {
    [ -z "$server" ] || { kill -INT "$server" 2>/dev/null || true; wait "$server" 2>/dev/null || true; }
    rm -rf "$work"
}
trap stop EXIT
fail() { echo "FAILED: $*"; cat "$work/log"; exit 1; }
kafka() { timeout 120 java -XX:TieredStopAtLevel=1 -XX:+UseSerialGC -Xshare:auto -cp "$libs/*" "$@"; }

# An authority, a server and a client that it knows, and the key that signs tokens.
certify() {
    openssl req -newkey rsa:2048 -nodes -keyout "$work/$1.key" -out "$work/$1.csr" -subj "/O=Example/CN=$1" 2>/dev/null
    openssl x509 -req -in "$work/$1.csr" -CA "$work/ca.pem" -CAkey "$work/ca.key" -CAcreateserial -days 2 \
        -extfile <(echo "subjectAltName=DNS:localhost,IP:127.0.0.1") -out "$work/$1.crt" 2>/dev/null
    cat "$work/$1.key" "$work/$1.crt" >"$work/$1.pem"
}
openssl req -x509 -newkey rsa:2048 -nodes -keyout "$work/ca.key" -out "$work/ca.pem" -days 2 -subj /CN=authority 2>/dev/null
certify server
certify carol
openssl genrsa -out "$work/token.key" 2048 2>/dev/null
"$cache/py/bin/python" "$here/security_clients.py" jwks "$work"

settings=(
    "listeners=LOCAL://127.0.0.1:0,SASL_SSL://127.0.0.1:0,SSL://127.0.0.1:0"
    "listener.security.protocol.map=LOCAL:PLAINTEXT,SASL_SSL:SASL_SSL,SSL:SSL"
    "advertised.listeners=SASL_SSL://localhost,SSL://localhost"
    "ssl.keystore.type=PEM" "ssl.keystore.location=$work/server.pem"
    "ssl.truststore.type=PEM" "ssl.truststore.location=$work/ca.pem"
    "listener.name.ssl.ssl.client.auth=required"
    "listener.name.ssl.ssl.principal.mapping.rules=RULE:^CN=([^,]*),.*\$/\$1/"
    "sasl.enabled.mechanisms=PLAIN,SCRAM-SHA-256,SCRAM-SHA-512,OAUTHBEARER"
    "listener.name.sasl_ssl.plain.sasl.jaas.config=org.apache.kafka.common.security.plain.PlainLoginModule required user_alice=\"plain secret\";"
    "sasl.oauthbearer.jwks.endpoint.url=file://$work/jwks.json"
    "sasl.oauthbearer.expected.issuer=https://issuer.example" "sasl.oauthbearer.expected.audience=ottla"
    "authorizer.class.name=org.apache.kafka.metadata.authorizer.StandardAuthorizer"
    "super.users=User:ANONYMOUS"
)
if [ "$(basename "$binary")" = serve ]; then
    "$binary" "$work/data" 127.0.0.1:0 "${settings[@]}" >"$work/log" 2>&1 &
else
    { echo "[broker]"; for setting in "${settings[@]}"; do printf "'%s' = '''%s'''\n" "${setting%%=*}" "${setting#*=}"; done; } >"$work/ottla.toml"
    "$binary" server --config "$work/ottla.toml" --data-dir "$work/data" --http-listen 127.0.0.1:0 >"$work/log" 2>&1 &
fi
server=$!
for _ in $(seq 100); do
    grep -q '^ready ' "$work/log" && break
    kill -0 "$server" 2>/dev/null || fail "it does not start"
    sleep 0.1
done
address() { sed -nE "s/^ready .*\b$1=([^ ]+).*/\1/p" "$work/log"; }
local=$(address kafka) sasl_ssl=localhost:$(address sasl_ssl | sed 's/.*://') ssl=localhost:$(address ssl | sed 's/.*://')

# Who administers, on this machine alone, makes users and says what they may.
for mechanism in SCRAM-SHA-256 SCRAM-SHA-512; do
    kafka kafka.admin.ConfigCommand --bootstrap-server "$local" --alter --entity-type users --entity-name alice \
        --add-config "$mechanism=[password=scram secret]" >/dev/null
done
kafka kafka.admin.ConfigCommand --bootstrap-server "$local" --describe --entity-type users |
    grep -q "SCRAM credential configs for user-principal 'alice' are SCRAM-SHA-256=iterations=.*, SCRAM-SHA-512=iterations=" ||
    fail "kafka-configs does not tell alice's credentials"
kafka org.apache.kafka.tools.TopicCommand --bootstrap-server "$local" --create --topic hers --partitions 2 >/dev/null
kafka org.apache.kafka.tools.TopicCommand --bootstrap-server "$local" --create --topic other >/dev/null
acls() { kafka org.apache.kafka.tools.AclCommand --bootstrap-server "$local" "$@" 2>/dev/null || kafka kafka.admin.AclCommand --bootstrap-server "$local" "$@"; }
for user in alice carol; do
    acls --add --allow-principal "User:$user" --producer --consumer --topic hers --group g- --resource-pattern-type prefixed >/dev/null
done
acls --list --topic hers --resource-pattern-type match | grep -q "principal=User:alice, host=\*, operation=WRITE, permissionType=ALLOW" ||
    fail "kafka-acls does not list what was added"

clients="$cache/py/bin/python $here/security_clients.py"
for client in confluent kafka_python aiokafka; do
    $clients "$client" "$work" "$sasl_ssl" || fail "$client"
    echo "ok      $client"
done
$clients certificate "$work" "$ssl" || fail "client certificates"
echo "ok      client certificates"
NODE_PATH="$cache/node/node_modules" timeout 60 node "$here/security_client.js" "$work/ca.pem" "$sasl_ssl" || fail kafkajs
echo "ok      kafkajs"

cat >"$work/client.properties" <<EOF
security.protocol=SASL_SSL
sasl.mechanism=SCRAM-SHA-512
sasl.jaas.config=org.apache.kafka.common.security.scram.ScramLoginModule required username="alice" password="scram secret";
ssl.truststore.type=PEM
ssl.truststore.location=$work/ca.pem
EOF
seq 100 | kafka org.apache.kafka.tools.ConsoleProducer --bootstrap-server "$sasl_ssl" --topic hers --producer.config "$work/client.properties" >/dev/null 2>&1 ||
    fail "console producer"
count=$(kafka org.apache.kafka.tools.consumer.ConsoleConsumer --bootstrap-server "$sasl_ssl" --topic hers --from-beginning --group g-console \
    --max-messages 100 --timeout-ms 30000 --consumer.config "$work/client.properties" 2>/dev/null | wc -l)
[ "$count" = 100 ] || fail "the console consumer reads $count of 100"
kafka org.apache.kafka.tools.TopicCommand --bootstrap-server "$sasl_ssl" --command-config "$work/client.properties" --list >"$work/topics" 2>/dev/null
[ "$(cat "$work/topics")" = hers ] || fail "alice sees $(tr '\n' ' ' <"$work/topics")"
echo "ok      kafka console clients"

# The audit log tells who was refused, and nothing tells a secret.
sed -i 's/\x1b\[[0-9;]*m//g' "$work/log"
if [ "$(basename "$binary")" != serve ]; then
    grep -q 'audit:.*User:alice.*other.*denied\|audit: denied.*User:alice.*other' "$work/log" || fail "no denial in the audit log"
fi
for secret in "plain secret" "scram secret" "PRIVATE KEY" "wrong secret"; do
    ! grep -q "$secret" "$work/log" || fail "the log has a secret"
done
echo "security: all passed"
