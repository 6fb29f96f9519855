"""How long producers with librdkafka's default settings (and acks=all) wait when the leader of their partition is killed, and when
it is stopped; whatever was acknowledged must be there afterwards, everywhere in the same order.

    failover.py OTTLA [ROUNDS]
"""

import signal
import sys
import time

from confluent_kafka.admin import AdminClient, NewTopic

from load import TOPIC, Writer, check
from nodes import Cluster, scratch, until


def described(admin):
    return admin.list_topics(TOPIC, timeout=10).topics[TOPIC].partitions.get(0)


def main():
    ottla, rounds = sys.argv[1], int(sys.argv[2]) if len(sys.argv) > 2 else 3
    gaps = {"kill -9": [], "SIGTERM": []}
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
            writer = Writer(cluster.bootstrap)
            writer.start()
            time.sleep(1)
            for _ in range(rounds):
                for name, how in (("kill -9", signal.SIGKILL), ("SIGTERM", signal.SIGTERM)):
                    leader = described(admin).leader
                    begin = time.monotonic()
                    cluster.end(leader, how)
                    count = len(writer.acked)
                    until("records are acknowledged again", lambda: len(writer.acked) > count + 50)
                    gaps[name].append(writer.longest_gap(begin))
                    cluster.start(leader)
                    cluster.until_ready(leader)
                    until("all replicas are in sync again", lambda: in_sync(3))
                    time.sleep(0.5)
            writer.is_over.set()
            writer.join()
            check(cluster, writer)
        finally:
            cluster.stop_all()
    for name, found in gaps.items():
        each = ", ".join(f"{gap * 1000:.0f}" for gap in found)
        print(f"{name}: longest wait of a producer {each} ms")


main()
