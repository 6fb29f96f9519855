"""What goes wrong while the clients work: one thing at a time, some seconds each, all from one seed."""

import os
import signal
import threading

from confluent_kafka import KafkaException

from disks import Injection
from history import now
from network import CLIENTS
from nodes import NODES


class Nemeses:
    """Each method is a nemesis: it does its harm, has it last, mends it, and tells what it was."""

    def __init__(self, cluster, chance, network=None, disks=None, clocks=None, leader_of=None):
        self.cluster, self.chance, self.network, self.disks, self.clocks = cluster, chance, network, disks or {}, clocks or {}
        self.leader_of = leader_of
        self.is_over = threading.Event()
        self.wrongs = []

    def last(self, least, most):
        seconds = self.chance.uniform(least, most)
        self.is_over.wait(seconds)
        return f"for {seconds:.1f} s"

    def some(self, *weights):
        """One node mostly, or two or all three by `weights`."""
        count = self.chance.choices((1, 2, 3), weights)[0]
        return sorted(self.chance.sample(NODES, count))

    def start(self, nodes):
        for node in nodes:
            self.cluster.start(node)
        for node in nodes:
            self.cluster.until_ready(node)

    def mend(self, may_have_ended=False):
        """Starts again what has ended by itself, which is wrong but where a disk has failed."""
        for node in NODES:
            if self.cluster.has_ended(node):
                if not may_have_ended:
                    self.wrongs.append(("node ended by itself", f"node {node}, found at {now():.1f} s; see its log"))
                self.cluster.end(node, signal.SIGKILL)
                self.start([node])

    def kill(self):
        nodes = self.some(6, 2, 2)
        for node in nodes:
            self.cluster.end(node, signal.SIGKILL)
        text = self.last(0.2, 8)
        self.start(nodes)
        return f"kill -9 of {told(nodes)}, away {text}"

    def stop(self):
        nodes = self.some(7, 2, 1)
        for node in nodes:
            self.cluster.send_signal(node, signal.SIGSTOP)
        text = self.last(1, 14)
        for node in nodes:
            self.cluster.send_signal(node, signal.SIGCONT)
        return f"SIGSTOP of {told(nodes)} {text}"

    def partition(self):
        kind = self.chance.choice(["node", "node and clients", "leader", "mute", "deaf", "one way", "bridge", "all"])
        one = self.chance.choice(NODES)
        if kind == "leader" and self.leader_of:
            try:
                one = self.leader_of(self.chance) or one
            except KafkaException:
                pass
        others = [node for node in NODES if node != one]
        cut, cut_both = self.network.cut, self.network.cut_both
        if kind == "all":
            for a, b in ((1, 2), (2, 3), (1, 3)):
                cut_both(a, b)
        elif kind == "bridge":
            cut_both(*others)
        elif kind == "one way":
            cut(one, others[0])
        elif kind in ("mute", "deaf"):
            for other in others:
                cut(*((one, other) if kind == "mute" else (other, one)))
        else:
            for other in others + ([CLIENTS] if kind == "node and clients" else []):
                cut_both(one, other)
        text = self.last(2, 16)
        self.network.heal()
        told_of = {
            "node": f"node {one} away from the others", "node and clients": f"node {one} away from the others and from clients",
            "leader": f"node {one}, a leader, away from the others", "mute": f"the others do not hear node {one}",
            "deaf": f"node {one} does not hear the others", "one way": f"node {others[0]} does not hear node {one}",
            "bridge": f"nodes {others[0]} and {others[1]} away from each other", "all": "every node away from the others",
        }
        return f"partition: {told_of[kind]} {text}"

    def power(self):
        nodes = self.some(5, 2, 3)
        for node in nodes:
            self.disks[node].power_off()
        for node in nodes:
            self.cluster.end(node, signal.SIGKILL)
        text = self.last(0.2, 6)
        for node in nodes:
            self.disks[node].power_on()
        self.start(nodes)
        return f"power cut of {told(nodes)}, away {text}"

    def slow(self):
        nodes, delay = self.some(6, 1, 2), self.chance.choice([30, 200, 1000])
        injections = [self.inject(node, "fdatasync", f"delay_enter={delay * 1000}") for node in nodes]
        text = self.last(3, 12)
        for injection in injections:
            injection.stop()
        self.mend()
        return f"slow disk: each sync takes {delay} ms longer on {told(nodes)} {text}"

    def error(self):
        node = self.chance.choice(NODES)
        call, when = self.chance.choice([("fdatasync", 1), ("fdatasync", 20), ("fsync", 1), ("pwritev", 1), ("pwritev", 10), ("pwrite64", 3)])
        how_often, often = self.chance.choice([("", ""), ("+7", ", then each seventh"), ("+", " and all later")])
        injection = self.inject(node, call, f"error=EIO:when={when}{how_often}")
        text = self.last(2, 8)
        injection.stop()
        # One that ends takes a moment.
        self.last(2, 2)
        has_ended = self.cluster.has_ended(node)
        self.mend(may_have_ended=True)
        return f"disk error: {call} fails on node {node} (call {when}{often}) {text}" + (
            ", which it has ended for" if has_ended else "")

    def full(self):
        nodes = self.some(7, 1, 2)
        left = self.chance.choice([0, 0, 65_536, 1 << 20])
        for node in nodes:
            self.disks[node].fill(left)
        text = self.last(3, 12)
        for node in nodes:
            self.disks[node].empty()
        self.last(2, 2)
        has_ended = [node for node in NODES if self.cluster.has_ended(node)]
        self.mend(may_have_ended=True)
        return f"full disk on {told(nodes)} {text}" + (f", {told(has_ended)} had ended" if has_ended else "")

    def clock(self):
        nodes = self.some(6, 1, 2)
        seconds = self.chance.choice([-1500, -120, -5, 5, 120, 3000])
        for node in nodes:
            self.clocks[node].step(seconds)
        text = self.last(2, 12)
        for node in nodes:
            self.clocks[node].step(0)
        self.mend()
        return f"clock of {told(nodes)} {seconds:+d} s {text}"

    def restart(self):
        nodes = self.chance.sample(NODES, 3)
        for node in nodes:
            if not self.cluster.end(node, signal.SIGTERM):
                self.wrongs.append(("node does not stop", f"node {node}, two minutes after SIGTERM, at {now():.1f} s"))
            self.last(0, 1)
            self.start([node])
            self.last(0, 3)
        return f"rolling restart: {', '.join(map(str, nodes))}"

    def inject(self, node, call, what):
        return Injection(self.cluster.processes[node].pid, call, what)


def told(nodes):
    return f"node {nodes[0]}" if len(nodes) == 1 else "all nodes" if len(nodes) == 3 else f"nodes {nodes[0]} and {nodes[1]}"


class Clock:
    """A process' clock by libfaketime: it reads how far it is off from a file, again and again. The clock that only counts is left alone
    unless `counts_too`."""

    LIBRARY = "/usr/lib/x86_64-linux-gnu/faketime/libfaketimeMT.so.1"

    def __init__(self, path, counts_too=False):
        self.path, self.counts_too = path, counts_too
        self.step(0)

    def step(self, seconds):
        with open(self.path + ".new", "w") as file:
            file.write(f"{seconds:+d}\n")
        os.rename(self.path + ".new", self.path)

    def environment(self):
        return {"LD_PRELOAD": self.LIBRARY, "FAKETIME_TIMESTAMP_FILE": self.path, "FAKETIME_DONT_FAKE_MONOTONIC": str(int(not self.counts_too)),
                "FAKETIME_CACHE_DURATION": "1"}


ALL = ["kill", "stop", "partition", "power", "slow", "error", "full", "clock", "restart"]
