"""Three nodes of Apache Kafka in place of Ottla's, each broker and controller."""

import os
import socket
import subprocess
import time

from nodes import NODES, Cluster

CLUSTER_ID = "MkU3OEVBNTcwNTJENDM2Qg"


class KafkaCluster(Cluster):
    def __init__(self, jars, directory, places, environment=None):
        super().__init__("java", directory, places=places, environment=environment)
        self.classpath = os.path.join(jars, "*")
        for node in NODES:
            with open(self.properties(node), "w") as file:
                file.write(self.configuration(node))

    def properties(self, node):
        return os.path.join(self.directory, f"node-{node}.properties")

    def data(self, node):
        return os.path.join(self.folder(node), "data")

    def configuration(self, node):
        voters = ",".join(f"{each}@{address}" for each, address in self.controllers.items())
        # Sessions as short as Ottla's, or most faults would be over before anybody has seen them.
        return f"""process.roles=broker,controller
node.id={node}
controller.quorum.voters={voters}
listeners=PLAINTEXT://{self.kafka[node]},CONTROLLER://{self.controllers[node]}
controller.listener.names=CONTROLLER
listener.security.protocol.map=CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT
log.dirs={self.data(node)}
offsets.topic.num.partitions=4
transaction.state.log.num.partitions=4
group.initial.rebalance.delay.ms=0
broker.session.timeout.ms=6000
broker.heartbeat.interval.ms=1000
replica.lag.time.max.ms=5000
"""

    def command(self, node):
        return ["java", "-Xmx512M", "-Xms512M", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-cp", self.classpath, "kafka.Kafka",
                self.properties(node)]

    def start(self, node):
        if not os.path.exists(os.path.join(self.data(node), "meta.properties")):
            with open(self.log(node), "ab") as log:
                subprocess.run(
                    ["java", "-cp", self.classpath, "kafka.tools.StorageTool", "format", "-t", CLUSTER_ID, "-c", self.properties(node)],
                    check=True, stdout=log, stderr=log)
        with open(self.log(node), "ab") as log:
            self.processes[node] = subprocess.Popen(
                self.places.prefix(node) + self.command(node), stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                env={**os.environ, **self.environment.get(node, {})})

    def until_ready(self, node, patience=120):
        host, port = self.kafka[node].split(":")
        deadline = time.monotonic() + patience
        while time.monotonic() < deadline and not self.has_ended(node):
            try:
                socket.create_connection((host, int(port)), timeout=1).close()
                return
            except OSError:
                time.sleep(0.1)
        raise SystemExit(f"node {node} does not start; see {self.log(node)}")
