"""confluent-kafka's Schema Registry client and serializers against the registry: BOOTSTRAP REGISTRY_URL.

Avro and JSON values go through a topic by the client's own serializers; then every call of the client is made once.
"""

import json
import sys

from confluent_kafka import Consumer, Producer
from confluent_kafka.schema_registry import Schema, SchemaReference, SchemaRegistryClient
from confluent_kafka.schema_registry.avro import AvroDeserializer, AvroSerializer
from confluent_kafka.schema_registry.error import SchemaRegistryError
from confluent_kafka.schema_registry.json_schema import JSONDeserializer, JSONSerializer
from confluent_kafka.schema_registry.schema_registry_client import ConfigCompatibilityLevel, ServerConfig
from confluent_kafka.serialization import MessageField, SerializationContext

bootstrap, url = sys.argv[1:3]
client = SchemaRegistryClient({"url": url})


def record(*fields):
    return json.dumps({"type": "record", "name": "Order", "namespace": "shop", "fields": list(fields)})


ID = {"name": "id", "type": "long"}
TOTAL = {"name": "total", "type": {"type": "bytes", "logicalType": "decimal", "precision": 10, "scale": 2}}
NOTE = {"name": "note", "type": ["null", "string"], "default": None}
TAGS = {"name": "tags", "type": {"type": "array", "items": "string"}, "default": []}


def produce(topic, serializer, values):
    producer = Producer({"bootstrap.servers": bootstrap})
    for value in values:
        producer.produce(topic, serializer(value, SerializationContext(topic, MessageField.VALUE)))
    assert producer.flush(60) == 0


def consume(topic, deserializer, count):
    consumer = Consumer(
        {"bootstrap.servers": bootstrap, "group.id": f"{topic}-readers", "auto.offset.reset": "earliest"}
    )
    consumer.subscribe([topic])
    values = []
    while len(values) < count:
        message = consumer.poll(60)
        assert message is not None and message.error() is None, message and message.error()
        values.append(deserializer(message.value(), SerializationContext(topic, MessageField.VALUE)))
    consumer.close()
    return values


def refused(status, code, call, *arguments, **options):
    try:
        call(*arguments, **options)
    except SchemaRegistryError as error:
        assert (error.http_status_code, error.error_code) == (status, code), error
        return str(error)
    raise AssertionError(f"{call.__name__}{arguments} should be refused with {code}")


def avro():
    from decimal import Decimal

    old = [{"id": 1, "total": Decimal("12.50")}]
    new = [{"id": 2, "total": Decimal("-3.00"), "note": "hi", "tags": ["a", "b"]}]
    produce("orders", AvroSerializer(client, record(ID, TOTAL)), old)
    produce("orders", AvroSerializer(client, record(ID, TOTAL, NOTE, TAGS)), new)
    # Read with the newer schema, whatever each was written with.
    read = consume("orders", AvroDeserializer(client, record(ID, TOTAL, NOTE, TAGS)), 2)
    assert read == [{**old[0], "note": None, "tags": []}, new[0]], read
    assert client.get_versions("orders-value") == [1, 2]
    needs = record(ID, TOTAL, NOTE, TAGS, {"name": "must", "type": "int"})
    said = refused(409, 409, client.register_schema, "orders-value", Schema(needs, "AVRO"))
    assert "must" in said and "BACKWARD" in said, said


def json_schema():
    schema = {
        "$schema": "http://json-schema.org/draft-07/schema#",
        "title": "Visit",
        "type": "object",
        "properties": {"page": {"type": "string"}, "ms": {"type": "number"}},
        "required": ["page"],
        "additionalProperties": False,
    }
    values = [{"page": "/", "ms": 1.5}, {"page": "/a"}]
    produce("visits", JSONSerializer(json.dumps(schema), client), values)
    assert consume("visits", JSONDeserializer(json.dumps(schema)), 2) == values
    schema["properties"]["user"] = {"type": "string"}
    assert client.test_compatibility("visits-value", Schema(json.dumps(schema), "JSON"))
    schema["required"] = ["page", "user"]
    assert not client.test_compatibility("visits-value", Schema(json.dumps(schema), "JSON"))


def every_call():
    assert sorted(client.get_schema_types()) == ["AVRO", "JSON"]
    one, two = Schema(record(ID), "AVRO"), Schema(record(ID, NOTE), "AVRO")
    subject = "every/call"
    first = client.register_schema(subject, one)
    assert client.register_schema("another", one, normalize_schemas=False) == first
    second = client.register_schema_full_response(subject, two)
    assert second.schema_id == first + 1, second
    assert client.get_schema(first).schema_str == record(ID).replace(" ", "")
    found = client.lookup_schema(subject, two)
    assert (found.schema_id, found.version, found.subject) == (first + 1, 2, subject), found
    refused(404, 40403, client.lookup_schema, subject, Schema('"int"', "AVRO"))
    refused(404, 40401, client.lookup_schema, "nobody", one)
    assert subject in client.get_subjects()
    assert client.get_subjects(subject_prefix="every") == [subject]
    assert sorted(client.get_subjects_by_schema_id(first)) == ["another", subject]
    assert {(v.subject, v.version) for v in client.get_schema_versions(first)} == {("another", 1), (subject, 1)}
    assert client.get_latest_version(subject).version == 2
    assert client.get_version(subject, 1).schema_id == first
    refused(404, 40402, client.get_version, subject, 9)

    uses = Schema(
        json.dumps({"type": "array", "items": "shop.Order"}), "AVRO", [SchemaReference("shop.Order", subject, 1)]
    )
    user = client.register_schema("uses", uses)
    assert client.get_referenced_by(subject, 1) == [user]
    refused(422, 42206, client.delete_version, subject, 1)
    refused(404, 40405, client.delete_subject, "uses", permanent=True)
    assert client.delete_subject("uses") == [1]
    assert client.delete_subject("uses", permanent=True) == [1]

    narrow = Schema(record({"name": "id", "type": "string"}), "AVRO")
    assert client.test_compatibility(subject, two, 1)
    assert not client.test_compatibility(subject, narrow)
    assert not client.test_compatibility_all_versions(subject, narrow)
    assert client.get_compatibility() == "BACKWARD"
    client.set_compatibility(subject, "NONE")
    assert client.get_compatibility(subject) == "NONE"
    client.register_schema(subject, narrow)
    client.set_config(subject, ServerConfig(compatibility=ConfigCompatibilityLevel.FULL_TRANSITIVE))
    assert client.get_config(subject).compatibility_level == "FULL_TRANSITIVE"
    client.delete_config(subject)
    refused(404, 40408, client.get_compatibility, subject)
    refused(422, 42203, client.set_compatibility, subject, "SOME")
    refused(422, 42201, client.register_schema, subject, Schema("{}", "AVRO"))
    refused(422, 42201, client.register_schema, subject, Schema('syntax = "proto3";', "PROTOBUF"))

    assert client.get_global_mode() == "READWRITE"
    client.update_mode(subject, "READONLY")
    assert client.get_mode(subject) == "READONLY"
    refused(422, 42205, client.delete_subject, subject)
    client.delete_mode(subject)
    assert client.update_global_mode("READWRITE") == "READWRITE"
    assert client.get_contexts() == [":.:"]

    assert client.delete_version(subject, 3) == 3
    assert client.get_versions(subject) == [1, 2]
    assert client.get_versions(subject, deleted_only=True) == [3]
    assert client.delete_version(subject, 3, permanent=True) == 3
    assert client.delete_subject(subject) == [1, 2]
    assert client.delete_subject(subject, permanent=True) == [1, 2]
    refused(404, 40401, client.get_versions, subject)


avro()
json_schema()
every_call()
print("Avro and JSON values went through topics by their schemas, and every call was answered")
