"""What an operator does to a cluster, while a producer writes to it: a fourth node joins and gets its share, a node that is also a controller is taken out,
one dies and is back. Nothing that was acknowledged may be missing.

    operations.py OTTLA
"""

import json
import signal
import subprocess
import sys

from confluent_kafka.admin import AdminClient, NewTopic

from load import TOPIC, LibrdkafkaWriter, check
from nodes import NODES, Cluster, scratch, until

FOURTH = 4


class Operator:
    """Who has the command line."""

    def __init__(self, ottla, bootstrap):
        self.ottla, self.bootstrap = ottla, bootstrap

    def run(self, *words):
        command = [self.ottla, "cluster", *words, "--bootstrap-server", self.bootstrap]
        return subprocess.run(command, capture_output=True, text=True, timeout=120)

    def does(self, *words):
        done = self.run(*words)
        if done.returncode != 0:
            raise SystemExit(f"{words}: {done.stdout}{done.stderr}")
        return done.stdout

    def is_refused(self, why, *words):
        done = self.run(*words)
        if done.returncode != 1 or why not in done.stdout + done.stderr:
            raise SystemExit(f"{words}: exit {done.returncode}, not 1 with {why!r}: {done.stdout}{done.stderr}")


def shares(admin, brokers):
    """Replicas and leaders of each broker, by topic and in all."""
    found = {}
    for name, topic in admin.list_topics(timeout=10).topics.items():
        for partition in topic.partitions.values():
            for each in (name, None):
                kept, led = found.setdefault(each, ({broker: 0 for broker in brokers}, {broker: 0 for broker in brokers}))
                for replica in partition.replicas:
                    kept[replica] = kept.get(replica, 0) + 1
                led[partition.leader] = led.get(partition.leader, 0) + 1
    return found


def expect_even(admin, brokers):
    for topic, counts in shares(admin, brokers).items():
        for what, count in zip(("replicas", "leaders"), counts):
            if set(count) != set(brokers) or max(count.values()) > min(count.values()) + 1:
                raise SystemExit(f"{what} of {topic or 'all topics'} are not even: {count}")


def main():
    ottla = sys.argv[1]
    with scratch() as directory:
        cluster = Cluster(ottla, directory, nodes=(*NODES, FOURTH))
        try:
            for node in NODES:
                cluster.start(node)
            for node in NODES:
                cluster.until_ready(node)
            admin = AdminClient({"bootstrap.servers": cluster.bootstrap})
            until("three brokers are there", lambda: len(admin.list_topics(timeout=10).brokers) == 3)
            topics = [NewTopic(TOPIC, 8, 3, config={"min.insync.replicas": "2"}), NewTopic("pairs", 6, 2), NewTopic("single", 4, 1)]
            for made in admin.create_topics(topics).values():
                made.result(30)
            writer = LibrdkafkaWriter(cluster.bootstrap)
            writer.start()
            operator = Operator(ottla, cluster.bootstrap)
            operator.does("health", "--wait", "30")

            cluster.start(FOURTH)
            cluster.until_ready(FOURTH)
            until("four brokers are there", lambda: len(admin.list_topics(timeout=10).brokers) == 4)
            plan = json.loads(operator.does("rebalance", "-o", "json"))["changes"]
            if not any(FOURTH in change["to"] for change in plan):
                raise SystemExit(f"nothing is planned for the new broker: {plan}")
            operator.does("rebalance", "--execute", "--at-once", "3")
            operator.does("health", "--wait", "30")
            expect_even(admin, [*NODES, FOURTH])
            if json.loads(operator.does("rebalance", "-o", "json"))["changes"]:
                raise SystemExit("what was just evened out is not even")

            operator.is_refused("there is no broker 9", "decommission", "9")
            operator.does("decommission", "3")
            said = operator.does("decommission", "3", "--execute")
            if "stop it" not in said or "has no vote" not in said:
                raise SystemExit(f"decommission 3: {said}")
            cluster.end(3, signal.SIGTERM)
            until("it is forgotten", lambda: "forgotten" in operator.does("decommission", "3", "--execute"))
            operator.does("health", "--wait", "30")
            if any(3 in kept for kept, _ in shares(admin, []).values()):
                raise SystemExit("broker 3 has something")

            cluster.end(FOURTH, signal.SIGKILL)
            until("its death is told of", lambda: operator.run("health").returncode != 0)
            operator.is_refused("brokers that are registered and do not serve: 1 (4)", "health")
            operator.is_refused("there would be 2 brokers", "decommission", str(FOURTH))
            operator.is_refused("does not serve", "rebalance")
            cluster.start(FOURTH)
            cluster.until_ready(FOURTH)
            operator.does("health", "--wait", "30")
            writer.is_over.set()
            writer.join()
            check(cluster, writer)
        finally:
            cluster.stop_all()


main()
