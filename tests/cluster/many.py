"""Many partitions on three servers: how long after `kill -9` of one every partition has a leader and takes records, and what it
costs the servers to keep followers of all of them while nothing happens.

    many.py OTTLA [PARTITIONS [TOPICS]]

Ends with an error where the failover takes more than 5 s.
"""

import signal
import sys
import time

from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient, NewTopic

from nodes import Cluster, cpu_seconds, scratch, until

FAILOVER_S_MAX = 5


def resident_mb(process):
    with open(f"/proc/{process.pid}/status") as file:
        return next(int(line.split()[1]) / 1024 for line in file if line.startswith("VmRSS"))


class Partitions:
    def __init__(self, cluster, partitions, topics):
        self.admin = AdminClient({"bootstrap.servers": cluster.bootstrap})
        self.names = [f"many-{number}" for number in range(topics)]
        self.per_topic = partitions // topics
        self.cluster = cluster

    def make(self):
        new = [NewTopic(name, self.per_topic, 3, config={"min.insync.replicas": "2"}) for name in self.names]
        for made in self.admin.create_topics(new, operation_timeout=120, request_timeout=180).values():
            made.result(180)

    def each(self):
        topics = self.admin.list_topics(timeout=30).topics
        return [each for name in self.names if name in topics for each in topics[name].partitions.values()]

    def all_are(self, is_so):
        each = self.each()
        return len(each) == self.per_topic * len(self.names) and all(is_so(one) for one in each)

    def write_one_to_each(self):
        """Gives how many acknowledgements have come, and when the last did."""
        producer = Producer({"bootstrap.servers": self.cluster.bootstrap, "acks": "all",
                             "queue.buffering.max.messages": 1000000, "delivery.timeout.ms": 300000})
        failed = []
        for name in self.names:
            for number in range(self.per_topic):
                producer.produce(name, value=b"v", partition=number,
                                 on_delivery=lambda error, _: error and failed.append(str(error)))
        producer.flush(300)
        if failed:
            raise SystemExit(f"{len(failed)} records were refused: {failed[0]}")
        return time.monotonic()


def main():
    ottla = sys.argv[1]
    count = int(sys.argv[2]) if len(sys.argv) > 2 else 10_000
    topics = int(sys.argv[3]) if len(sys.argv) > 3 else 10
    with scratch() as directory:
        cluster = Cluster(ottla, directory)
        try:
            cluster.start_all()
            partitions = Partitions(cluster, count, topics)
            until("three brokers are there", lambda: len(partitions.admin.list_topics(timeout=10).brokers) == 3)
            begin = time.monotonic()
            partitions.make()
            made = time.monotonic()
            until("all replicas are in sync", lambda: partitions.all_are(lambda one: one.leader > 0 and len(one.isrs) == 3))
            print(f"{count} partitions, replication factor 3: made in {made - begin:.1f} s, in sync after {time.monotonic() - begin:.1f} s",
                  flush=True)
            begin = time.monotonic()
            print(f"a record to each, acks=all: {partitions.write_one_to_each() - begin:.1f} s", flush=True)
            time.sleep(5)
            before = {node: cpu_seconds(process) for node, process in cluster.processes.items()}
            time.sleep(10)
            for node, process in cluster.processes.items():
                print(f"node {node} with nothing to do: {(cpu_seconds(process) - before[node]) * 10:.1f} % of a core, "
                      f"{resident_mb(process):.0f} MB", flush=True)
            killed = max(cluster.processes, key=lambda node: sum(one.leader == node for one in partitions.each()))
            begin = time.monotonic()
            cluster.end(killed, signal.SIGKILL)
            until("all partitions are led", lambda: partitions.all_are(lambda one: one.leader not in (-1, killed)))
            led = time.monotonic() - begin
            written = partitions.write_one_to_each() - begin
            print(f"node {killed} killed: all partitions led after {led:.1f} s, a record to each acknowledged after {written:.1f} s",
                  flush=True)
            begin = time.monotonic()
            cluster.start(killed)
            cluster.until_ready(killed)
            ready = time.monotonic() - begin
            until("all replicas are in sync again", lambda: partitions.all_are(lambda one: len(one.isrs) == 3))
            print(f"node {killed} started again: ready after {ready:.1f} s, all in sync after {time.monotonic() - begin:.1f} s")
        finally:
            cluster.stop_all()
    if led > FAILOVER_S_MAX:
        raise SystemExit(f"failover took more than {FAILOVER_S_MAX} s")


main()
