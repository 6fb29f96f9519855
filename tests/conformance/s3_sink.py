"""The S3 sink against moto's S3 server, read by pyarrow, and Avro through a connector, read by confluent-kafka:
BOOTSTRAP REGISTRY_URL CONNECT_URL.
"""

import json
import os
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path

import pyarrow.dataset
import pyarrow.fs
from confluent_kafka import Consumer, Producer
from confluent_kafka.schema_registry import SchemaRegistryClient
from confluent_kafka.schema_registry.avro import AvroDeserializer
from confluent_kafka.serialization import MessageField, SerializationContext

bootstrap, registry, connect = sys.argv[1:4]
ROWS = 5_000


def apply(name, **properties):
    body = json.dumps({"name": name, "config": {key.replace("__", "."): str(value) for key, value in properties.items()}})
    request = urllib.request.Request(
        f"{connect}/connectors", body.encode(), {"Content-Type": "application/json"}, method="POST"
    )
    urllib.request.urlopen(request, timeout=60).read()


def until(what, holds):
    deadline = time.monotonic() + 120
    while not (found := holds()):
        assert time.monotonic() < deadline, what
        time.sleep(0.1)
    return found


def free_port():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return taken.getsockname()[1]


def rows_of(filesystem, path):
    """What is there now; an object may be replaced while it is read."""
    try:
        table = pyarrow.dataset.dataset(path, filesystem=filesystem, format="parquet").to_table()
    except (FileNotFoundError, OSError, ValueError):
        return None
    return table if table.num_rows >= ROWS else None


def check(table):
    table = table.sort_by("id")
    assert table.num_rows == ROWS, table.num_rows
    assert table["id"].to_pylist() == list(range(ROWS))
    first = table.slice(3, 1).to_pylist()[0]
    assert first["name"] == "visitor 3" and str(first["paid"]) == "3.50" and first["at"].year == 2013, first
    assert table["note"].null_count == ROWS // 2


schema = {"id": "int", "name": "string", "paid": "decimal(9,2)", "at": "timestamp", "note": "string?"}
producer = Producer({"bootstrap.servers": bootstrap})
for number in range(ROWS):
    row = {"id": number, "name": f"visitor {number}", "paid": f"{number}.50", "at": "2013-01-01T10:00:00Z"}
    producer.produce("visitors", json.dumps({**row, "note": "x" if number % 2 else None}), str(number))
    producer.poll(0)
assert producer.flush(60) == 0

with tempfile.TemporaryDirectory() as folder:
    port = free_port()
    server = subprocess.Popen(
        [str(Path(sys.executable).parent / "moto_server"), "-H", "127.0.0.1", "-p", str(port)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        os.environ.update(AWS_ACCESS_KEY_ID="an-id", AWS_SECRET_ACCESS_KEY="a-key", AWS_EC2_METADATA_DISABLED="true")
        store = pyarrow.fs.S3FileSystem(
            endpoint_override=f"127.0.0.1:{port}", scheme="http", region="us-east-1", allow_bucket_creation=True
        )

        def listens():
            with socket.socket() as probe:
                return probe.connect_ex(("127.0.0.1", port)) == 0

        until("moto's server listens", listens)
        store.create_dir("lake")
        common = {
            "connector__class": "S3Sink",
            "topics": "visitors",
            "flush_rows": 1500,
            "flush_ms": 300,
            "value__schema": json.dumps(schema),
        }
        apply(
            "bucket",
            url="s3://lake/raw",
            endpoint=f"http://127.0.0.1:{port}",
            access_key_id="an-id",
            secret_access_key="a-key",
            **common,
        )
        apply("folder", url=f"file://{folder}", compression="snappy", **common)
        check(until("all rows are in the bucket", lambda: rows_of(store, "lake/raw/visitors")))
        check(until("all rows are in the folder", lambda: rows_of(pyarrow.fs.LocalFileSystem(), f"{folder}/visitors")))
    finally:
        server.terminate()
        server.wait()

    source = Path(folder) / "rows.csv"
    source.write_text("id,name,paid\n" + "".join(f"{number},row {number},{number}.25\n" for number in range(100)))
    apply(
        "avro",
        connector__class="FileSource",
        topic="rows",
        path=source,
        format="csv",
        value__converter="io.confluent.connect.avro.AvroConverter",
        value__converter__schema__registry__url=registry,
        value__schema=json.dumps({"id": "int", "name": "string?", "paid": "decimal(9,2)"}),
    )
    client = SchemaRegistryClient({"url": registry})
    deserializer = AvroDeserializer(client)
    consumer = Consumer({"bootstrap.servers": bootstrap, "group.id": "avro-readers", "auto.offset.reset": "earliest"})
    consumer.subscribe(["rows"])
    values = []

    def consumed():
        message = consumer.poll(1)
        if message is not None and message.error() is None:
            values.append(deserializer(message.value(), SerializationContext("rows", MessageField.VALUE)))
        return len(values) >= 100

    until("all rows are in the topic", consumed)
    consumer.close()
    values.sort(key=lambda value: value["id"])
    assert [value["id"] for value in values] == list(range(100))
    assert values[7]["name"] == "row 7" and str(values[7]["paid"]) == "7.25", values[7]
    assert client.get_versions("rows-value") == [1]

print(f"{ROWS} rows are in a bucket and in a folder, once each, and Avro of a connector was read")
