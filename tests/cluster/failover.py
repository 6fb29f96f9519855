"""How long producers with their library's default settings wait when the leader of their partition is killed, and when it is stopped;
whatever was acknowledged must be there afterwards.

    failover.py OTTLA ROUNDS [JARS]

With the folder of Kafka's jars the producer is the one of Java, else librdkafka's. Ends with an error where one waits longer than WAIT_MAX.
"""

import signal
import sys
import time

from confluent_kafka.admin import AdminClient, NewTopic

from load import TOPIC, JavaWriter, LibrdkafkaWriter, check
from nodes import Cluster, scratch, until


HOW = {"kill -9": signal.SIGKILL, "SIGTERM": signal.SIGTERM}
FIRSTS_APART = 1_000_000
WAIT_MAX = {"kill -9": 3, "SIGTERM": 1}


def described(admin):
    return admin.list_topics(TOPIC, timeout=10).topics[TOPIC].partitions.get(0)


def main():
    ottla, rounds, jars = sys.argv[1], int(sys.argv[2]), sys.argv[3:]
    gaps, writers = {name: [] for name in HOW}, []

    def start_writer(first):
        writer = JavaWriter(cluster.bootstrap, *jars, first) if jars else LibrdkafkaWriter(cluster.bootstrap, first)
        writer.start()
        return writer

    with scratch() as directory:
        cluster = Cluster(ottla, directory)
        try:
            cluster.start_all()
            admin = AdminClient({"bootstrap.servers": cluster.bootstrap})
            until("three brokers are there", lambda: len(admin.list_topics(timeout=10).brokers) == 3)
            topic = NewTopic(TOPIC, 1, 3, config={"min.insync.replicas": "2"})
            admin.create_topics([topic])[TOPIC].result(30)
            in_sync = lambda count: (p := described(admin)) and p.leader > 0 and len(p.isrs) == count
            until("all replicas are in sync", lambda: in_sync(3))
            for _ in range(rounds):
                for name, how in HOW.items():
                    # A new one each time: clients that know little of the cluster yet have the longest way to the next leader.
                    writer = start_writer(len(writers) * FIRSTS_APART)
                    writers.append(writer)
                    until("records are acknowledged", lambda: writer.acked)
                    leader = described(admin).leader
                    begin = time.monotonic()
                    cluster.end(leader, how)
                    count = len(writer.acked)
                    until("records are acknowledged again", lambda: len(writer.acked) > count + 50)
                    gaps[name].append(writer.longest_gap(begin))
                    cluster.start(leader)
                    cluster.until_ready(leader)
                    until("all replicas are in sync again", lambda: in_sync(3))
                    writer.is_over.set()
                    writer.join()
            check(cluster, *writers)
        finally:
            cluster.stop_all()
    for name, found in gaps.items():
        each = ", ".join(f"{gap * 1000:.0f}" for gap in found)
        print(f"{name}: longest wait of a producer {each} ms", flush=True)
    if any(gap > WAIT_MAX[name] for name, found in gaps.items() for gap in found):
        raise SystemExit(f"wanted are at most {WAIT_MAX} s")


main()
