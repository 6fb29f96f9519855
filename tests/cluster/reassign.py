"""Kafka's kafka-reassign-partitions with --throttle and --verify against three servers; see reassign.sh."""

import json
import os
import subprocess
import sys
import tempfile
import threading
import time

from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient, ConfigResource, NewTopic

from nodes import NODES, Cluster, until

# A throttle counts record batches; what is beside them and the last piece make it a little shorter or longer.
TOLERANCE = 0.25
# Node 3 gets a replica of each partition, node 2 has it no more.
BEFORE, AFTER = [[1, 2], [2, 1], [1, 2], [2, 1]], [[1, 3], [3, 1], [1, 3], [3, 1]]


class Tools:
    def __init__(self, libs, cluster, directory):
        self.libs, self.cluster = libs, cluster
        self.plan = os.path.join(directory, "plan.json")

    def run(self, tool, *arguments):
        command = ["java", "-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", "-Xshare:auto", "-cp", f"{self.libs}/*",
                   tool, "--bootstrap-server", self.cluster.bootstrap, *arguments]
        return subprocess.run(command, capture_output=True, text=True, timeout=180).stdout

    def reassign(self, *arguments):
        tool = "org.apache.kafka.tools.reassign.ReassignPartitionsCommand"
        return self.run(tool, "--reassignment-json-file", self.plan, *arguments)

    def plan_to(self, replicas):
        partitions = [{"topic": "moved", "partition": number, "replicas": on} for number, on in enumerate(replicas)]
        with open(self.plan, "w") as file:
            json.dump({"version": 1, "partitions": partitions}, file)


class Kept:
    """A topic that is in sync everywhere, and how long its producer waits for each record."""

    def __init__(self, cluster):
        self.producer = Producer({"bootstrap.servers": cluster.bootstrap, "acks": "all", "linger.ms": 0})
        self.longest_s, self.count, self.stop = 0.0, 0, threading.Event()
        self.thread = threading.Thread(target=self.run, daemon=True)

    def run(self):
        while not self.stop.is_set():
            sent, failed = time.monotonic(), []
            self.producer.produce("kept", value=os.urandom(20_000), on_delivery=lambda error, _: error and failed.append(error))
            self.producer.flush(60)
            if failed:
                raise SystemExit(f"a record was refused: {failed[0]}")
            self.longest_s = max(self.longest_s, time.monotonic() - sent)
            self.count += 1
            time.sleep(0.02)

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.stop.set()
        self.thread.join()


def fill(cluster, megabytes):
    """Gives the bytes of what was sent."""
    producer = Producer({"bootstrap.servers": cluster.bootstrap, "acks": "all", "linger.ms": 20, "batch.size": 900_000,
                         "queue.buffering.max.messages": 20_000})
    value = os.urandom(10_000)
    records = megabytes * 100
    for number in range(records):
        while True:
            try:
                producer.produce("moved", value=value, partition=number % len(BEFORE))
                break
            except BufferError:
                producer.poll(0.1)
    producer.flush(300)
    return records * len(value)


def set_configs(admin, kind, name):
    """What is set on a broker or a topic while it runs."""
    resource = ConfigResource(kind, name)
    entries = admin.describe_configs([resource])[resource].result(30)
    return {entry.name: entry.value for entry in entries.values() if "throttled" in entry.name and entry.value}


def main():
    ottla, libs, megabytes, rate_mb = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
    with tempfile.TemporaryDirectory() as directory:
        cluster = Cluster(ottla, directory)
        try:
            cluster.start_all()
            check(cluster, Tools(libs, cluster, directory), megabytes, rate_mb)
        finally:
            cluster.stop_all()


def check(cluster, tools, megabytes, rate_mb):
    admin = AdminClient({"bootstrap.servers": cluster.bootstrap})
    until("three brokers are there", lambda: len(admin.list_topics(timeout=10).brokers) == 3)
    topics = [NewTopic("moved", len(BEFORE), replica_assignment=BEFORE), NewTopic("kept", 1, 3)]
    for made in admin.create_topics(topics, operation_timeout=60).values():
        made.result(60)

    def partitions(topic):
        return [each for _, each in sorted(admin.list_topics(topic, timeout=10).topics[topic].partitions.items())]

    until("all are in sync", lambda: all(len(one.isrs) == len(one.replicas) for one in partitions("moved") + partitions("kept")))
    sent = fill(cluster, megabytes)
    rate = rate_mb * 1_000_000
    tools.plan_to(AFTER)
    with Kept(cluster) as kept:
        time.sleep(3)
        alone_s, kept.longest_s = kept.longest_s, 0.0
        begin = time.monotonic()
        said = tools.reassign("--execute", "--throttle", str(rate))
        started = time.monotonic()
        assert "Successfully started partition reassignments" in said, said
        limits = set_configs(admin, ConfigResource.Type.BROKER, "3")
        assert limits.get("follower.replication.throttled.rate") == str(rate), limits
        lists = set_configs(admin, ConfigResource.Type.TOPIC, "moved")
        assert lists.get("follower.replication.throttled.replicas") == "0:3,1:3,2:3,3:3", lists
        said = tools.reassign("--verify")
        assert "is still in progress" in said and "Clearing" not in said, said

        def is_done():
            return all(sorted(one.replicas) == sorted(one.isrs) == sorted(on) for one, on in zip(partitions("moved"), AFTER))

        until("it has moved", is_done, patience=600)
        took_s = (time.monotonic() - begin, time.monotonic() - started)
    said = tools.reassign("--verify")
    assert said.count("is completed") == len(AFTER), said
    assert "Clearing broker-level throttles on brokers 1,2,3" in said and "Clearing topic-level throttles on topic moved" in said, said
    for node in NODES:
        assert not set_configs(admin, ConfigResource.Type.BROKER, str(node))
    assert not set_configs(admin, ConfigResource.Type.TOPIC, "moved")
    # A second's worth may come at once.
    expected_s = sent / rate - 1
    print(f"{sent / 1e6:.0f} MB to one broker at {rate_mb} MB/s: {took_s[1]:.1f} to {took_s[0]:.1f} s, by the rate {expected_s:.1f} s", flush=True)
    print(f"meanwhile {kept.count} records acks=all to replicas in sync, the slowest after {kept.longest_s * 1000:.0f} ms "
          f"({alone_s * 1000:.0f} ms without the move)", flush=True)
    if took_s[0] < expected_s * (1 - TOLERANCE) or took_s[1] > expected_s * (1 + TOLERANCE) + 2:
        raise SystemExit("the move did not take the time that the rate says")
    if kept.longest_s > max(2.0, 5 * alone_s):
        raise SystemExit("producers of replicas in sync had to wait")


main()
