"""Reading at the nearest replica (KIP-392) with librdkafka; see nearest.sh."""

import json
import os
import signal
import sys
import tempfile
import threading
import time

from confluent_kafka import Consumer, Producer
from confluent_kafka.admin import AdminClient, NewTopic

from nodes import Cluster, until

SELECTOR = "org.apache.kafka.common.replica.RackAwareReplicaSelector"


class Racks(Cluster):
    """Each node in a rack of its own."""

    def command(self, node):
        command = super().command(node)
        configs = {"broker.rack": f"rack-{node}", "replica.selector.class": SELECTOR}
        if os.path.basename(self.ottla) == "serve":
            return command + [f"{name}={value}" for name, value in configs.items()]
        path = os.path.join(self.directory, f"node-{node}.toml")
        with open(path, "w") as file:
            file.write("[broker]\n" + "".join(f'"{name}" = "{value}"\n' for name, value in configs.items()))
        return command + ["--config", path]


class Writer:
    """Writes numbers, each of which is acknowledged by all."""

    def __init__(self, cluster):
        self.producer = Producer({"bootstrap.servers": cluster.bootstrap, "acks": "all", "linger.ms": 1})
        self.sent, self.stop, self.failed = 0, threading.Event(), []
        self.thread = threading.Thread(target=self.run, daemon=True)

    def run(self):
        while not self.stop.is_set():
            self.producer.produce("read", value=str(self.sent).encode(), on_delivery=lambda error, _: error and self.failed.append(str(error)))
            self.sent += 1
            self.producer.poll(0.01)
        self.producer.flush(60)


class Reader:
    def __init__(self, cluster, rack):
        self.at, self.next = None, 0
        self.consumer = Consumer({
            "bootstrap.servers": cluster.bootstrap, "client.rack": rack, "group.id": "near", "auto.offset.reset": "earliest",
            "statistics.interval.ms": 200, "stats_cb": self.told, "fetch.wait.max.ms": 100})
        self.consumer.subscribe(["read"])

    def told(self, text):
        partition = json.loads(text)["topics"].get("read", {}).get("partitions", {}).get("0")
        if partition and partition["fetch_state"] == "active":
            self.at = partition["broker"]

    def poll(self):
        message = self.consumer.poll(0.2)
        if message is not None and message.error() is None:
            if int(message.value()) != self.next:
                raise SystemExit(f"{message.value()} came where {self.next} was expected")
            self.next += 1

    def reads_at(self, node, patience=120):
        """Polls until it does, and then until it has been given more from there."""
        begin = time.monotonic()
        while self.at != node:
            self.poll()
            if time.monotonic() > begin + patience:
                raise SystemExit(f"it reads at {self.at}, not at {node}, after {patience} s")
        enough = self.next + 200
        while self.next < enough:
            self.poll()
            if time.monotonic() > begin + patience:
                raise SystemExit(f"node {node} gives nothing")
        return time.monotonic() - begin


def check(cluster):
    admin = AdminClient({"bootstrap.servers": cluster.bootstrap})
    until("three brokers are there", lambda: len(admin.list_topics(timeout=10).brokers) == 3)
    new = NewTopic("read", 1, replica_assignment=[[1, 2, 3]], config={"min.insync.replicas": "2"})
    admin.create_topics([new], operation_timeout=60)["read"].result(60)

    def state():
        return admin.list_topics("read", timeout=10).topics["read"].partitions[0]

    until("all are in sync", lambda: len(state().isrs) == 3 and state().leader == 1)
    writer, reader = Writer(cluster), Reader(cluster, "rack-2")
    writer.thread.start()
    try:
        print(f"a consumer in rack-2 reads at its follower after {reader.reads_at(2):.1f} s", flush=True)
        cluster.end(2, signal.SIGKILL)
        print(f"the follower killed: it reads at the leader after {reader.reads_at(1):.1f} s", flush=True)
        # Longer than the broker's session: the leader has heard that it is gone.
        until("the follower is not in sync", lambda: len(state().isrs) == 2)
        cluster.start(2)
        cluster.until_ready(2)
        until("it is in sync again", lambda: len(state().isrs) == 3)
        print(f"the follower back: it is read at again after {reader.reads_at(2):.1f} s", flush=True)
    finally:
        writer.stop.set()
        writer.thread.join()
    while reader.next < writer.sent:
        reader.poll()
    if writer.failed:
        raise SystemExit(f"{len(writer.failed)} records were refused: {writer.failed[0]}")
    reader.consumer.close()
    print(f"{writer.sent} records were read in order")


def main():
    with tempfile.TemporaryDirectory() as directory:
        cluster = Racks(sys.argv[1], directory)
        try:
            cluster.start_all()
            check(cluster)
        finally:
            cluster.stop_all()


main()
