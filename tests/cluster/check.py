"""A cluster of three real servers under faults, and its clients' history against what Kafka's protocol promises: see check.sh."""

import argparse
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter

from confluent_kafka.admin import AdminClient, NewTopic

import checker
from consumers import AssignedReader, FinalReader, Inspector, Member
from disks import Disk
from history import Recorder, load, now
from kafka_nodes import KafkaCluster
from nemeses import ALL, Clock, Nemeses
from network import Network
from nodes import NODES, Cluster, until
from producers import Copier, PlainProducer, TransactionalProducer
from replicas import divergences

TOPICS = {"plain": 3, "txn": 3, "loop": 2}
GROUPS = {"copier": ["txn", "loop"], "classic": ["plain", "txn"], "consumer": ["plain", "txn"]}
# Kafka answers before its disk has what it says yes to, and a failed sync does not end it: these would not be fair.
NOT_FOR_KAFKA = {"power", "error", "full", "clock"}
PATIENCE = 180
# What a machine that is too busy could bring about as well; the exit code is another then.
LIVENESS = {"unreadable", "group stuck", "last stable offset stuck", "not in sync", "node does not stop"}
TOO_SLOW = 3
STUCK_SECONDS = 60


class Context:
    """What all clients share."""

    groups = GROUPS

    def __init__(self, bootstrap, recorder, seed):
        self.bootstrap, self.recorder, self.seed = bootstrap, recorder, seed
        self.polls, self.complaints = 0, Counter()

    def partitions_of(self, *topics):
        return [(topic, number) for topic in topics or TOPICS for number in range(TOPICS[topic])]

    def complain(self, name, error, text=""):
        self.complaints[error] += 1
        self.recorder.add("complaint", process=name, error=error, text=text, end=now())

    def acknowledged(self, partition):
        pass


def parsed():
    parser = argparse.ArgumentParser(prog="check.sh", description=__doc__)
    parser.add_argument("--seconds", type=float, default=180, help="how long clients work and faults come (default: %(default)s)")
    parser.add_argument("--nemesis", default=None, help=f"which faults, of {','.join(ALL)}")
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(1 << 31))
    parser.add_argument("--kafka", metavar="JARS", help="Apache Kafka in place of Ottla")
    parser.add_argument("--ottla", help="the server's binary")
    parser.add_argument("--keep", metavar="DIR", help="where history, logs and data are put; without it they are kept after an anomaly only")
    options = parser.parse_args()
    usual = [name for name in ALL if not (options.kafka and name in NOT_FOR_KAFKA)]
    options.nemesis = options.nemesis.split(",") if options.nemesis else usual
    if unknown := set(options.nemesis) - set(ALL):
        parser.error(f"no such nemesis: {', '.join(sorted(unknown))}")
    return options


def main():
    options = parsed()
    directory = options.keep or tempfile.mkdtemp(prefix="ottla-check-")
    os.makedirs(directory, exist_ok=True)
    print(f"seed {options.seed}, {options.seconds:.0f} s, {'Apache Kafka' if options.kafka else 'Ottla'}: {', '.join(options.nemesis)}",
          flush=True)
    path = os.path.join(directory, "history.jsonl")
    network = Network(NODES)
    disks = {node: Disk(os.path.join(directory, f"node-{node}"), 3 << 30) for node in NODES}
    clocks = {node: Clock(os.path.join(directory, f"clock-{node}")) for node in NODES} if "clock" in options.nemesis else {}
    # Nobody but this run reaches these addresses.
    environment = {
        node: {"OTTLA_ALLOW_UNAUTHENTICATED": "1", **(clocks[node].environment() if clocks else {})} for node in NODES
    }
    if options.kafka:
        cluster = KafkaCluster(options.kafka, directory, network, environment)
    else:
        cluster = Cluster(options.ottla, directory, places=network, environment=environment)
    recorder = Recorder(path)
    try:
        faults, context = run(options, cluster, network, disks, clocks, recorder)
    except SystemExit as error:
        print(f"FAILED (seed {options.seed}): {error}; the history, the nodes' logs and disks are in {directory}")
        sys.exit(TOO_SLOW)
    finally:
        cluster.stop_all()
        recorder.close()
        for disk in disks.values():
            disk.unmount()
        network.stop()
    anomalies = report(load(path), faults, context)
    if not anomalies and not options.keep:
        shutil.rmtree(directory)
    elif anomalies:
        print(f"FAILED (seed {options.seed}): the history, the nodes' logs and disks are in {directory}")
        sys.exit(TOO_SLOW if {anomaly.kind for anomaly in anomalies} <= LIVENESS else 1)


def run(options, cluster, network, disks, clocks, recorder):
    cluster.start_all()
    context = Context(cluster.bootstrap, recorder, options.seed)
    admin = AdminClient({"bootstrap.servers": cluster.bootstrap, "log_level": 0})
    until("three brokers are there", lambda: len(admin.list_topics(timeout=10).brokers) == 3)
    topics = [NewTopic(topic, count, 3, config={"min.insync.replicas": "2", "retention.ms": "-1"}) for topic, count in TOPICS.items()]
    for future in admin.create_topics(topics).values():
        future.result(60)

    def described():
        return {name: topic for name, topic in admin.list_topics(timeout=10).topics.items() if name in TOPICS or name.startswith("__")}

    def all_in_sync():
        found = described()
        return TOPICS.keys() <= found.keys() and all(
            partition.leader > 0 and len(partition.isrs) == len(partition.replicas)
            for topic in found.values() for partition in topic.partitions.values())

    def some_leader(chance):
        return chance.choice([p for name in sorted(TOPICS) for p in described()[name].partitions.values()]).leader

    until("all replicas are in sync", all_in_sync)
    recorder.add("setup", topics=TOPICS, groups=list(GROUPS), copiers={"copier": ["txn", "loop"]})
    crew = Crew(context)
    nemeses = Nemeses(cluster, random.Random(options.seed), network, disks, clocks, some_leader)
    faults = harm(nemeses, options, recorder, crew)
    finish(cluster, context, recorder, crew, all_in_sync)
    for kind, text in nemeses.wrongs:
        recorder.add("end", kind=kind, text=text)
    return faults, context


class Crew:
    """The clients, by what they do."""

    def __init__(self, context):
        self.context = context
        writers = [PlainProducer(f"plain{n}", context) for n in (1, 2, 3)]
        self.writers = writers + [TransactionalProducer(f"txn{n}", context) for n in (1, 2, 3)]
        members = [Member(f"{protocol}{n}", context, protocol, protocol) for protocol in ("classic", "consumer") for n in (1, 2)]
        self.groups = members + [Copier(f"copier{n}", context) for n in (1, 2)]
        readers = [AssignedReader("committed", context, checker.COMMITTED), AssignedReader("uncommitted", context, checker.UNCOMMITTED)]
        self.others = readers + [Inspector("inspector", context, list(GROUPS))]
        for worker in self.writers + self.groups + self.others:
            worker.start()

    def replace_the_stuck(self):
        """Whose client does not come back from a call is replaced: a fault of the client must not hide what the server does."""
        for crew in (self.writers, self.groups, self.others):
            for place, worker in enumerate(crew):
                if not worker.is_over.is_set() and (not worker.is_alive() or now() - worker.seen_at > STUCK_SECONDS):
                    self.context.complain(worker.name, "(stuck)")
                    crew[place] = worker.heir()
                    crew[place].start()

    def end(self, workers):
        for worker in workers:
            worker.is_over.set()
        for worker in workers:
            worker.join(STUCK_SECONDS)
            if worker.is_alive():
                self.context.complain(worker.name, "(stuck)")
            if worker.sending:
                worker.sending.end()


def harm(nemeses, options, recorder, crew):
    faults, over = Counter(), now() + options.seconds
    nemeses.last(3, 5)
    while now() < over:
        name, begin = nemeses.chance.choice(options.nemesis), now()
        text = getattr(nemeses, name)()
        faults[name] += 1
        recorder.add("fault", name=name, text=text, begin=begin, end=now())
        print(f"{begin:7.1f} s  {text}", flush=True)
        nemeses.last(2, 9)
        nemeses.mend()
        crew.replace_the_stuck()
    return faults


def finish(cluster, context, recorder, crew, all_in_sync):
    """All is healed: whatever was acknowledged must be readable, and groups must get there."""
    crew.end(crew.writers)
    crew.end(crew.others)
    deadline = time.monotonic() + PATIENCE
    final = {isolation: FinalReader(context, isolation) for isolation in (checker.COMMITTED, checker.UNCOMMITTED)}
    inspector = Inspector("inspector", context, list(GROUPS))
    while True:
        # Each has some time, also when that of the groups is over.
        unread = {isolation: reader.advance(max(deadline, time.monotonic() + 30)) for isolation, reader in final.items()}
        behind = [text for group in GROUPS for text in places_behind(group, inspector.committed(group, 10), final[checker.COMMITTED])]
        if not behind and not any(unread.values()):
            break
        if time.monotonic() > deadline:
            for isolation, places in unread.items():
                for place in places:
                    recorder.add("end", kind="unreadable", text=f"{place[0]}-{place[1]} to its end, {isolation}, within {PATIENCE} s")
            for text in behind:
                recorder.add("end", kind="group stuck", text=text)
            break
        crew.replace_the_stuck()
    crew.end(crew.groups)
    for reader in final.values():
        reader.advance(time.monotonic() + 30)
    ends = {isolation: reader.ends for isolation, reader in final.items()}
    for place, high_watermark in ends[checker.UNCOMMITTED].items():
        if (stable := ends[checker.COMMITTED].get(place)) != high_watermark:
            recorder.add("end", kind="last stable offset stuck", text=f"{place[0]}-{place[1]}: at {stable} of {high_watermark}")
    for reader in final.values():
        reader.tell(recorder)
    while not all_in_sync():
        if time.monotonic() > deadline:
            recorder.add("end", kind="not in sync", text=f"some replicas, {PATIENCE} s after all was healed")
            break
        time.sleep(0.2)
    # Kafka's last nodes wait for others for minutes.
    cluster.stop_all(signal.SIGTERM, 20)
    until_offsets = {f"{topic}-{number}": offset for (topic, number), offset in ends[checker.UNCOMMITTED].items()}
    for text in divergences({node: cluster.data(node) for node in NODES}, until_offsets):
        recorder.add("end", kind="log divergence", text=text)


def places_behind(group, offsets, reader):
    """Where a group has not come to the end of what is committed."""
    if offsets is None:
        yield f"nobody tells where {group} is"
        return
    for partition, offset in offsets.items():
        if (last := reader.last(place_of(partition))) >= (offset or 0):
            yield f"{group} at {offset} of {partition}, whose last record is {last}"


def place_of(partition):
    topic, _, number = partition.rpartition("-")
    return topic, int(number)


def report(events, faults, context):
    history = checker.History(events)
    anomalies = checker.check(events)
    sends, txns = history.by_op["send"], history.by_op["txn"]
    outcomes, ends = Counter(send["type"] for send in sends), Counter(txn["type"] for txn in txns)
    polled = sum(len(records) for poll in history.by_op["poll"] for records in poll["records"].values())
    rows = [
        ("records sent", f"{len(sends)}: {outcomes['ok']} acknowledged, {outcomes['info']} unknown"),
        ("transactions", f"{len(txns)}: {ends['ok']} committed, {ends['fail']} aborted, {ends['info']} unknown"),
        ("polls", f"{context.polls}, which gave {polled} records"),
        ("offset commits", f"{len(history.by_op['commit'])}, looked at {len(history.by_op['committed'])} times"),
        ("nemeses", ", ".join(f"{name} {count}" for name, count in sorted(faults.items())) or "none"),
        ("longest time without an acknowledgement", "{:.1f} s, for one partition {:.1f} s".format(*unavailability(sends))),
        ("what clients complained of", ", ".join(f"{name} {count}" for name, count in context.complaints.most_common(8)) or "nothing"),
    ]
    kinds = Counter(anomaly.kind for anomaly in anomalies)
    rows.append(("anomalies", ", ".join(f"{kind} {count}" for kind, count in kinds.items()) or "none"))
    for name, value in rows:
        print(f"{name:40} {value}")
    shown = Counter()
    for anomaly in anomalies:
        shown[anomaly.kind] += 1
        if shown[anomaly.kind] <= 5:
            print(f"  {anomaly.kind}: {anomaly.text}")
    return anomalies


def unavailability(sends):
    """The longest times without an acknowledgement: of any partition, and of one."""
    times = {}
    for send in sends:
        # The topic of copies has no writer of its own.
        if send["type"] == "ok" and not send["partition"].startswith("loop-"):
            times.setdefault(send["partition"], []).append(send["end"])
    everywhere = sorted(time for each in times.values() for time in each)
    gap = lambda moments: max((b - a for a, b in zip(moments, moments[1:])), default=0)
    return gap(everywhere), max((gap(sorted(each)) for each in times.values()), default=0)


if __name__ == "__main__":
    main()
