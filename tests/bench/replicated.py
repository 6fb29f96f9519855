"""Three nodes of Ottla beside three of Apache Kafka on this machine, replication factor 3, `acks=all`: the same client, one cluster after
the other, medians of several runs.

    replicated.py --ottla BINARY --bench BINARY --kafka JARS [--runs 3] [--records 1000000] [--only WORD]

BINARY of --ottla is `ottla` or the broker's `serve` example; of --bench, the client's `bench` example. CPU is that of all three servers;
`followers` is what the two that lead nothing take of it, each, for what the leader takes (one partition only).
"""

import argparse
import json
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile

from confluent_kafka.admin import AdminClient, NewTopic

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "cluster"))
from kafka_nodes import KafkaCluster  # noqa: E402
from nodes import NODES, Cluster, Loopback, until  # noqa: E402

TICKS = os.sysconf("SC_CLK_TCK")
RECORD_BYTES = 1000
NEVER = str(2**63 - 1)
# name: (partitions, configs of the topic by kind)
SCENARIOS = {
    "1 partition, Ottla on disk": (1, {}),
    "9 partitions, Ottla on disk": (9, {}),
    "1 partition, page cache": (1, {"ottla": {"flush.messages": NEVER}}),
    "9 partitions, page cache": (9, {"ottla": {"flush.messages": NEVER}}),
}


class PlainKafka(KafkaCluster):
    """With its own defaults and the heap of its own start script."""

    def configuration(self, node):
        ours = ("broker.session", "broker.heartbeat", "replica.lag")
        return "".join(line + "\n" for line in super().configuration(node).splitlines() if not line.startswith(ours))

    def command(self, node):
        return ["java", "-Xmx1G", "-Xms1G", "-server", "-XX:+UseG1GC", "-XX:MaxGCPauseMillis=20", "-XX:InitiatingHeapOccupancyPercent=35",
                "-XX:+ExplicitGCInvokesConcurrent", "-Djava.awt.headless=true", "-cp", self.classpath, "kafka.Kafka", self.properties(node)]


def cpu_seconds(cluster):
    def of(process):
        fields = pathlib.Path(f"/proc/{process.pid}/stat").read_text().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / TICKS
    return {node: of(cluster.processes[node]) for node in NODES}


def touch_memory(directory, megabytes):
    """See compare.py: what the page cache will take is touched before."""
    with tempfile.TemporaryFile(dir=directory) as file:
        for _ in range(int(megabytes)):
            file.write(bytes(1 << 20))


def produce(arguments, cluster, topic, partitions, records):
    touch_memory(cluster.directory, 3.6 * records * RECORD_BYTES / 1e6)
    before = cpu_seconds(cluster)
    words = [arguments.bench, "produce", "--bootstrap-server", cluster.bootstrap, "--topic", topic, "--partitions", partitions,
             "--records", records, "--record-size", RECORD_BYTES, "--acks", "all", "--output", "json"]
    said = json.loads(subprocess.run([str(word) for word in words], check=True, text=True, capture_output=True).stdout)
    took = {node: after - before[node] for node, after in cpu_seconds(cluster).items()}
    gigabytes = said["bytes"] / 1e9
    return {"MB/s": said["megabytes_per_second"], "CPU s/GB": sum(took.values()) / gigabytes, "p99 ms": said["latency_ms"]["p99"]}, took


def run(arguments, kind, partitions, configs):
    with tempfile.TemporaryDirectory(prefix=f"replicated-{kind}-", dir=arguments.folder) as directory:
        places = Loopback()
        cluster = PlainKafka(arguments.kafka, directory, places) if kind == "kafka" else Cluster(arguments.ottla, directory, places=places)
        try:
            cluster.start_all()
            admin = AdminClient({"bootstrap.servers": cluster.bootstrap})
            until("three brokers are there", lambda: len(admin.list_topics(timeout=10).brokers) == 3)
            for topic in ("warm-up", "measured"):
                made = NewTopic(topic, partitions, 3, config={"min.insync.replicas": "2", **configs.get(kind, {})})
                admin.create_topics([made])[topic].result(60)
                in_sync = lambda: all(len(each.isrs) == 3 for each in admin.list_topics(topic, timeout=10).topics[topic].partitions.values())
                until("all replicas are in sync", in_sync)
            produce(arguments, cluster, "warm-up", partitions, arguments.records // 2)
            report, took = produce(arguments, cluster, "measured", partitions, arguments.records)
            if partitions == 1:
                leader = admin.list_topics("measured", timeout=10).topics["measured"].partitions[0].leader
                followers = [seconds for node, seconds in took.items() if node != leader]
                report["followers"] = statistics.mean(followers) / took[leader]
            return report
        finally:
            cluster.stop_all()


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--ottla", required=True)
    parser.add_argument("--bench", required=True)
    parser.add_argument("--kafka", required=True)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--records", type=int, default=1_000_000)
    parser.add_argument("--only", default="")
    parser.add_argument("--kinds", default="ottla,kafka")
    parser.add_argument("--folder", default=None, help="where the servers' data goes; on the disk to be measured")
    arguments = parser.parse_args()
    kinds = arguments.kinds.split(",")
    print("| | | " + " | ".join(kinds) + " | ratio |")
    print("|---|---|" + "---|" * (len(kinds) + 1))
    for name, (partitions, configs) in SCENARIOS.items():
        if arguments.only not in name:
            continue
        reports = {kind: [run(arguments, kind, partitions, configs) for _ in range(arguments.runs)] for kind in kinds}
        for figure in reports[kinds[0]][0]:
            values = [statistics.median(report[figure] for report in reports[kind]) for kind in kinds]
            ratio = f"{values[0] / values[1]:.2f}" if len(values) == 2 and values[1] else ""
            print(f"| {name} | {figure} | " + " | ".join(f"{value:.3g}" for value in values) + f" | {ratio} |", flush=True)


main()
