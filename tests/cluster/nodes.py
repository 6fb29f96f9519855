"""Three servers on this machine that are one cluster, to be killed, stopped and started again."""

import os
import signal
import socket
import subprocess
import tempfile
import time

from confluent_kafka import KafkaException


def free_ports(count):
    sockets = [socket.socket() for _ in range(count)]
    for each in sockets:
        each.bind(("127.0.0.1", 0))
    ports = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return ports


class Cluster:
    def __init__(self, ottla, directory, settings=()):
        self.ottla, self.directory, self.settings = ottla, directory, list(settings)
        ports = free_ports(9)
        self.kafka = dict(zip((1, 2, 3), ports[:3]))
        self.http = dict(zip((1, 2, 3), ports[3:6]))
        self.controllers = ",".join(f"{node}@127.0.0.1:{port}" for node, port in zip((1, 2, 3), ports[6:]))
        self.processes = {}

    @property
    def bootstrap(self):
        return ",".join(f"127.0.0.1:{port}" for port in self.kafka.values())

    def start(self, node):
        log = open(os.path.join(self.directory, f"node-{node}.log"), "ab")
        data, listen = os.path.join(self.directory, f"node-{node}"), f"127.0.0.1:{self.kafka[node]}"
        if os.path.basename(self.ottla) == "serve":
            # The broker alone, as its example builds it.
            command = [self.ottla, data, listen, f"node.id={node}", f"controllers={self.controllers}"]
        else:
            command = [
                self.ottla, "server", "--node-id", str(node), "--controllers", self.controllers,
                "--data-dir", data, "--listen", listen, "--http-listen", f"127.0.0.1:{self.http[node]}",
            ]
        command += self.settings
        self.processes[node] = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, text=True)

    def start_all(self):
        for node in (1, 2, 3):
            self.start(node)
        for node in (1, 2, 3):
            self.until_ready(node)

    def until_ready(self, node):
        line = self.processes[node].stdout.readline()
        if not line.startswith("ready "):
            raise SystemExit(f"node {node} does not start; see {self.directory}/node-{node}.log")

    def end(self, node, how):
        process = self.processes.pop(node)
        process.send_signal(how)
        process.wait()

    def stop_all(self):
        for process in self.processes.values():
            process.send_signal(signal.SIGKILL)
        for process in self.processes.values():
            process.wait()


def until(what, is_so, patience=120):
    deadline = time.monotonic() + patience

    def holds():
        try:
            return is_so()
        except KafkaException:
            # No broker is known yet.
            return False

    while not holds():
        if time.monotonic() > deadline:
            raise SystemExit(f"{what}: not within {patience} s")
        time.sleep(0.05)


def scratch():
    return tempfile.TemporaryDirectory(prefix="ottla-cluster-")
