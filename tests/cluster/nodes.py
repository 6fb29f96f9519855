"""Three servers on this machine that are one cluster, to be killed, stopped and started again."""

import os
import selectors
import signal
import socket
import subprocess
import tempfile
import time

from confluent_kafka import KafkaException

NODES = (1, 2, 3)
TICKS = os.sysconf("SC_CLK_TCK")


def free_ports(count):
    sockets = [socket.socket() for _ in range(count)]
    for each in sockets:
        each.bind(("127.0.0.1", 0))
    ports = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return ports


class Loopback:
    """Where nodes are that share this machine's network."""

    def __init__(self, nodes=NODES):
        ports = free_ports(3 * len(nodes))
        self.ports = {node: tuple(ports[at :: len(nodes)]) for at, node in enumerate(nodes)}

    def address(self, node):
        return "127.0.0.1"

    def prefix(self, node):
        return []


class Cluster:
    """Servers of Ottla. `places` says where each is, `ports` what it listens on there: for Kafka's protocol, for HTTP and as a controller,
    and `environment` has what is more in the environment of each. Of `nodes` those in NODES are the controllers, and others are brokers
    only."""

    def __init__(self, ottla, directory, settings=(), places=None, environment=None, nodes=NODES):
        self.ottla, self.directory, self.settings = ottla, directory, list(settings)
        self.places = places or Loopback(nodes)
        ports = getattr(self.places, "ports", {node: (9092, 8080, 9093) for node in nodes})
        self.kafka = {node: f"{self.places.address(node)}:{ports[node][0]}" for node in nodes}
        self.http = {node: f"{self.places.address(node)}:{ports[node][1]}" for node in nodes}
        self.controllers = {node: f"{self.places.address(node)}:{ports[node][2]}" for node in NODES}
        self.environment = environment or {}
        self.processes = {}

    @property
    def bootstrap(self):
        return ",".join(self.kafka.values())

    def folder(self, node):
        return os.path.join(self.directory, f"node-{node}")

    def data(self, node):
        """Where a node's partitions are."""
        return self.folder(node)

    def log(self, node):
        return os.path.join(self.directory, f"node-{node}.log")

    def command(self, node):
        controllers = ",".join(f"{each}@{address}" for each, address in self.controllers.items())
        if os.path.basename(self.ottla) == "serve":
            # The broker alone, as its example builds it.
            return [self.ottla, self.folder(node), self.kafka[node], f"node.id={node}", f"controllers={controllers}", *self.settings]
        roles = [] if node in self.controllers else ["--roles", "broker"]
        return [
            self.ottla, "server", "--node-id", str(node), "--controllers", controllers, "--data-dir", self.folder(node),
            "--listen", self.kafka[node], "--http-listen", self.http[node], *roles, *self.settings,
        ]

    def start(self, node):
        with open(self.log(node), "ab") as log:
            self.processes[node] = subprocess.Popen(
                self.places.prefix(node) + self.command(node), stdout=subprocess.PIPE, stderr=log, text=True,
                env={**os.environ, **self.environment.get(node, {})})

    def start_all(self):
        for node in NODES:
            self.start(node)
        for node in NODES:
            self.until_ready(node)

    def until_ready(self, node, patience=120):
        line = read_line(self.processes[node].stdout, patience)
        if not line.startswith("ready "):
            raise SystemExit(f"node {node} does not start; see {self.log(node)}")

    def send_signal(self, node, how):
        self.processes[node].send_signal(how)

    def has_ended(self, node):
        return self.processes[node].poll() is not None

    def end(self, node, how, patience=120):
        """Whether it has ended in time; if not it is killed."""
        self.send_signal(node, how)
        return self.ended(node, patience)

    def ended(self, node, patience):
        process = self.processes.pop(node)
        try:
            process.wait(patience)
            return True
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            return False
        finally:
            if process.stdout:
                process.stdout.close()

    def stop_all(self, how=signal.SIGKILL, patience=120):
        for node in self.processes:
            self.send_signal(node, how)
        for node in list(self.processes):
            self.ended(node, patience)


def cpu_seconds(process):
    with open(f"/proc/{process.pid}/stat") as file:
        fields = file.read().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


def read_line(stream, patience):
    """A line of a process that says nothing more, or an empty one if none comes in time."""
    with selectors.DefaultSelector() as selector:
        selector.register(stream, selectors.EVENT_READ)
        return stream.readline() if selector.select(patience) else ""


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
