"""Nodes that have run for long: the clocks of three that are one cluster, and of one that is alone, are set forward while they run, the one of
the time of day and the one that only counts. Each time they have to take records as before, to have those of before, and to rest.

    uptime.py OTTLA
"""

import os
import sys
import time

from confluent_kafka import Consumer, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic

from nemeses import Clock
from nodes import NODES, Cluster, cpu_seconds, scratch, until

TOPIC = "kept"
HOUR = 3600
# After so many hours: past the hour, past the default retention, and past what 32 bits have of milliseconds.
AGES_H = [1.1, 24 * 8, 24 * 51]
RECORDS = 100
# Of a core, of a node that has nothing to do.
REST_MAX = 0.05
REST_S = 4


class Alone(Cluster):
    def __init__(self, ottla, directory, environment):
        super().__init__(ottla, directory, environment=environment)
        self.kafka = {1: self.kafka[1]}

    def command(self, node):
        return [self.ottla, "server", "--data-dir", self.folder(node), "--listen", self.kafka[node], "--http-listen", self.http[node]]

    def start_all(self):
        self.start(1)
        self.until_ready(1)


def write(cluster, first):
    failed = []
    producer = Producer({"bootstrap.servers": cluster.bootstrap, "acks": "all"})
    for number in range(first, first + RECORDS):
        producer.produce(TOPIC, value=str(number), partition=0, on_delivery=lambda error, _: error and failed.append(str(error)))
    if producer.flush(60) or failed:
        raise SystemExit(f"records are not taken: {failed[:1]}")


def check_all_are_there(cluster, count):
    consumer = Consumer({"bootstrap.servers": cluster.bootstrap, "group.id": "check", "auto.offset.reset": "earliest"})
    consumer.assign([TopicPartition(TOPIC, 0, 0)])
    read = []
    while len(read) < count:
        message = consumer.poll(30)
        if message is None:
            raise SystemExit(f"{len(read)} of {count} records can be read")
        read.append(int(message.value()))
    consumer.close()
    if read != list(range(count)):
        raise SystemExit("the records are not the ones that were written")


def age(name, cluster, clock):
    cluster.start_all()
    admin = AdminClient({"bootstrap.servers": cluster.bootstrap})
    until("the brokers are there", lambda: len(admin.list_topics(timeout=10).brokers) == len(cluster.kafka))
    configs = {"retention.ms": "-1"}
    admin.create_topics([NewTopic(TOPIC, 1, len(cluster.kafka), config=configs)])[TOPIC].result(30)
    written = 0
    for hours in [0, *AGES_H]:
        clock.step(round(hours * HOUR))
        # The library looks once a second.
        time.sleep(1.5)
        begin = time.monotonic()
        write(cluster, written)
        written += RECORDS
        took = time.monotonic() - begin
        check_all_are_there(cluster, written)
        until("all replicas are in sync", lambda: len(admin.list_topics(TOPIC, timeout=10).topics[TOPIC].partitions[0].isrs) == len(cluster.kafka))
        time.sleep(2)
        before = {node: cpu_seconds(process) for node, process in cluster.processes.items()}
        time.sleep(REST_S)
        rest = max(cpu_seconds(process) - before[node] for node, process in cluster.processes.items()) / REST_S
        print(f"{name}, after {hours} h: {RECORDS} records in {took:.1f} s; at rest {rest * 100:.1f} % of a core", flush=True)
        if rest > REST_MAX:
            raise SystemExit(f"it does not rest: wanted is {REST_MAX * 100} %")


def main():
    ottla = sys.argv[1]
    for name, kind, nodes in (("a node alone", Alone, (1,)), ("three nodes", Cluster, NODES)):
        with scratch() as directory:
            clock = Clock(os.path.join(directory, "clock"), counts_too=True)
            cluster = kind(ottla, directory, environment={node: clock.environment() for node in nodes})
            try:
                age(name, cluster, clock)
            finally:
                cluster.stop_all()


main()
