"""Three nodes under load are restarted one by one with another binary, and then with the first one again: all that was acknowledged is there, and
no producer waits for long.

    upgrade.py OLD NEW
"""

import signal
import subprocess
import sys
import time

from confluent_kafka.admin import AdminClient, NewTopic

from load import TOPIC, LibrdkafkaWriter, check
from nodes import NODES, Cluster, scratch, until


def main():
    old, new = sys.argv[1:3]
    with scratch() as directory:
        cluster = Cluster(old, directory)
        try:
            cluster.start_all()
            admin = AdminClient({"bootstrap.servers": cluster.bootstrap})
            until("three brokers are there", lambda: len(admin.list_topics(timeout=10).brokers) == 3)
            admin.create_topics([NewTopic(TOPIC, 1, 3, config={"min.insync.replicas": "2"})])[TOPIC].result(30)
            writer = LibrdkafkaWriter(cluster.bootstrap)
            writer.start()
            for name, binary in (("the new one", new), ("the old one again", old)):
                begin = time.monotonic()
                for node in NODES:
                    cluster.end(node, signal.SIGTERM)
                    cluster.ottla = binary
                    cluster.start(node)
                    cluster.until_ready(node)
                    # Of the new release, as the old one may not have the command.
                    subprocess.run([new, "cluster", "health", "--wait", "60", "--bootstrap-server", cluster.bootstrap],
                                   check=True, stdout=subprocess.DEVNULL)
                print(f"three nodes restarted with {name}: longest wait of a producer {writer.longest_gap(begin) * 1000:.0f} ms")
            writer.is_over.set()
            writer.join()
            check(cluster, writer)
        finally:
            cluster.stop_all()


main()
