"""Clients that come in over TLS by every SASL mechanism and by certificate, do what they may and are refused the rest.

Usage: security_clients.py jwks|confluent|kafka_python|aiokafka|certificate DIR [ADDRESS], or for a token on standard output
security_clients.py token DIR SECONDS
"""

import asyncio
import base64
import json
import ssl
import subprocess
import sys
import time

WHAT, DIR = sys.argv[1:3]
ADDRESS = sys.argv[3] if len(sys.argv) > 3 else None
CA = f"{DIR}/ca.pem"


def text(data):
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def write_jwks():
    command = ["openssl", "rsa", "-in", f"{DIR}/token.key", "-noout", "-modulus"]
    modulus = subprocess.check_output(command, stderr=subprocess.DEVNULL, text=True).strip().split("=")[1]
    key = {"kty": "RSA", "kid": "k1", "alg": "RS256", "use": "sig", "n": text(bytes.fromhex(modulus)), "e": "AQAB"}
    with open(f"{DIR}/jwks.json", "w") as file:
        json.dump({"keys": [key]}, file)


def token(lasts, subject="alice"):
    claims = {"sub": subject, "iss": "https://issuer.example", "aud": "ottla", "exp": int(time.time()) + lasts}
    parts = [json.dumps(part).encode() for part in ({"alg": "RS256", "kid": "k1"}, claims)]
    signed = ".".join(text(part) for part in parts)
    command = ["openssl", "dgst", "-sha256", "-sign", f"{DIR}/token.key"]
    return f"{signed}.{text(subprocess.check_output(command, input=signed.encode()))}"


def confluent_works(config, group):
    from confluent_kafka import Consumer, KafkaException, Producer

    failures = []
    producer = Producer({**config, "enable.idempotence": True})
    for topic, number in [("hers", 100), ("other", 1)]:
        for _ in range(number):
            producer.produce(topic, group, on_delivery=lambda error, _: failures.append(error.name()) if error else None)
    assert producer.flush(30) == 0
    assert failures == ["TOPIC_AUTHORIZATION_FAILED"], failures
    consumer = Consumer({**config, "group.id": group, "auto.offset.reset": "earliest"})
    consumer.subscribe(["hers"])
    found, deadline = 0, time.time() + 30
    while found < 100 and time.time() < deadline:
        found += sum(message.error() is None and message.value().decode() == group for message in consumer.consume(500, 0.5))
    assert found == 100, found
    consumer.commit(asynchronous=False)
    consumer.close()
    stranger = Consumer({**config, "group.id": "another", "auto.offset.reset": "earliest"})
    stranger.subscribe(["hers"])
    deadline, refused = time.time() + 30, None
    while refused is None and time.time() < deadline:
        message = stranger.poll(0.5)
        refused = message.error().name() if message is not None and message.error() else None
    assert refused == "GROUP_AUTHORIZATION_FAILED", refused
    stranger.close()
    try:
        Consumer({**config, "group.id": group}).list_topics("other", 10)
    except KafkaException as error:
        raise AssertionError(error) from None


def refused_by_confluent(config):
    from confluent_kafka.admin import AdminClient

    errors = []
    admin = AdminClient({**config, "error_cb": lambda error: errors.append(error.name())})
    deadline = time.time() + 20
    while "_AUTHENTICATION" not in errors and time.time() < deadline:
        admin.poll(0.2)
    assert "_AUTHENTICATION" in errors, errors


def confluent():
    base = {"bootstrap.servers": ADDRESS, "security.protocol": "SASL_SSL", "ssl.ca.location": CA}
    for mechanism, password in [("PLAIN", "plain secret"), ("SCRAM-SHA-256", "scram secret"), ("SCRAM-SHA-512", "scram secret")]:
        config = {**base, "sasl.mechanism": mechanism, "sasl.username": "alice", "sasl.password": password}
        confluent_works(config, f"g-confluent-{mechanism}")
        refused_by_confluent({**config, "sasl.password": "wrong secret"})
    by_token = {**base, "sasl.mechanism": "OAUTHBEARER"}
    confluent_works({**by_token, "oauth_cb": lambda _: (token(300), time.time() + 300)}, "g-confluent-token")
    refused_by_confluent({**by_token, "oauth_cb": lambda _: (token(-60), time.time() + 300)})


def kafka_python():
    from kafka import KafkaConsumer, KafkaProducer
    from kafka.errors import TopicAuthorizationFailedError

    config = {"bootstrap_servers": ADDRESS, "security_protocol": "SASL_SSL", "ssl_cafile": CA,
              "sasl_mechanism": "SCRAM-SHA-256", "sasl_plain_username": "alice", "sasl_plain_password": "scram secret"}
    producer = KafkaProducer(**config)
    for _ in range(100):
        producer.send("hers", b"kafka-python").get(30)
    try:
        producer.send("other", b"x").get(30)
        raise AssertionError("alice may not write to other")
    except TopicAuthorizationFailedError:
        pass
    consumer = KafkaConsumer("hers", group_id="g-kafka-python", auto_offset_reset="earliest", consumer_timeout_ms=10_000, **config)
    found = 0
    for message in consumer:
        found += message.value == b"kafka-python"
        if found == 100:
            break
    assert found == 100, found
    consumer.close()
    producer.close()


def aiokafka():
    from aiokafka import AIOKafkaConsumer, AIOKafkaProducer

    config = {"bootstrap_servers": ADDRESS, "security_protocol": "SASL_SSL",
              "ssl_context": ssl.create_default_context(cafile=CA),
              "sasl_mechanism": "SCRAM-SHA-512", "sasl_plain_username": "alice", "sasl_plain_password": "scram secret"}

    async def run():
        producer = AIOKafkaProducer(**config)
        await producer.start()
        for _ in range(100):
            await producer.send_and_wait("hers", b"aiokafka")
        await producer.stop()
        consumer = AIOKafkaConsumer("hers", group_id="g-aiokafka", auto_offset_reset="earliest", **config)
        await consumer.start()
        found = 0
        while found < 100:
            found += (await asyncio.wait_for(consumer.getone(), 30)).value == b"aiokafka"
        await consumer.stop()

    asyncio.run(run())


def certificate():
    base = {"bootstrap.servers": ADDRESS, "security.protocol": "SSL", "ssl.ca.location": CA}
    mine = {"ssl.certificate.location": f"{DIR}/carol.crt", "ssl.key.location": f"{DIR}/carol.key"}
    confluent_works({**base, **mine}, "g-certificate")


if __name__ == "__main__":
    {"jwks": write_jwks, "confluent": confluent, "kafka_python": kafka_python, "aiokafka": aiokafka,
     "certificate": certificate, "token": lambda: print(token(int(ADDRESS)), end="")}[WHAT]()
