"""Members of four client libraries in one group, of both protocols, that come, leave and are killed while the broker is
restarted and killed: every record must be processed, and at the end the commits must be where the partitions end.

Usage: group_churn.py BINARY LIBS [MEMBERS EVENTS], where BINARY is `ottla` or the broker's example `serve` and LIBS the
folder with Kafka's jars. OTTLA_SEED repeats a run's choices.
"""

import os
import pathlib
import random
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time

from confluent_kafka import Consumer, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic

BINARY, LIBS = sys.argv[1:3]
MEMBERS, EVENTS = (int(word) for word in (sys.argv[3:5] or ["8", "12"]))
SEED = int(os.environ.get("OTTLA_SEED", random.randrange(1 << 32)))
HERE = pathlib.Path(__file__).parent
TOPIC, GROUP, PARTITIONS = "churn", "churners", 12
LIBRARIES = ["confluent-classic", "confluent-consumer", "kafka-python", "aiokafka", "java-classic", "java-consumer"]
SETTINGS = {
    "group.consumer.min.session.timeout.ms": 6000,
    "group.consumer.session.timeout.ms": 6000,
    "group.consumer.min.heartbeat.interval.ms": 1000,
    "group.consumer.heartbeat.interval.ms": 1000,
}


def free_port():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return taken.getsockname()[1]


class Broker:
    def __init__(self, work):
        self.work, self.address = work, f"127.0.0.1:{free_port()}"
        config = "\n".join(f'"{name}" = {value}' for name, value in SETTINGS.items())
        (work / "ottla.toml").write_text(f"[broker]\n{config}\n")
        self.start()

    def start(self):
        if pathlib.Path(BINARY).name == "serve":
            settings = [f"{name}={value}" for name, value in SETTINGS.items()]
            command = [BINARY, self.work / "data", self.address, *settings]
        else:
            command = [BINARY, "server", "--config", self.work / "ottla.toml", "--data-dir", self.work / "data",
                       "--listen", self.address, "--http-listen", "127.0.0.1:0"]
        self.log = open(self.work / "broker.log", "a")
        self.process = subprocess.Popen(command, stdout=self.log, stderr=self.log)

    def restart(self, how):
        self.process.send_signal(how)
        self.process.wait(30)
        self.start()


class Member:
    count = 0

    def __init__(self, library, broker, work):
        Member.count += 1
        self.library, self.file = library, work / f"member-{Member.count}-{library}"
        output = open(work / f"member-{Member.count}.log", "w")
        if library.startswith("java-"):
            protocol = library.removeprefix("java-")
            properties = ["auto.commit.interval.ms=500", "group.protocol=" + protocol, "client.id=" + library]
            if protocol == "classic":
                properties += ["session.timeout.ms=6000", "heartbeat.interval.ms=1000"]
            properties = [word for each in properties for word in ("--consumer-property", each)]
            command = ["java", "-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", "-Xshare:auto", "-Xmx128m", "-cp", f"{LIBS}/*",
                       "org.apache.kafka.tools.consumer.ConsoleConsumer", "--bootstrap-server", broker.address, "--topic",
                       TOPIC, "--group", GROUP, "--from-beginning", "--property", "print.partition=true", "--property",
                       "print.offset=true", "--property", "key.separator= ", *properties]
            self.process = subprocess.Popen(command, stdout=open(self.file, "w"), stderr=output)
        else:
            command = [sys.executable, HERE / "group_member.py", library, broker.address, TOPIC, GROUP, self.file]
            self.process = subprocess.Popen(command, stdout=output, stderr=output)

    def stop(self, how):
        self.process.send_signal(how)

    def wait(self):
        try:
            self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()

    def processed(self):
        """Partition and offset of every record it wrote; a killed one's last line may be torn."""
        for line in self.file.read_text(errors="replace").splitlines() if self.file.exists() else []:
            words = line.replace("Partition:", "").replace("Offset:", "").split()
            if len(words) == 3 and words[2].endswith("."):
                yield int(words[0]), int(words[1])


class Source(threading.Thread):
    """Produces until it is told to stop; every record is acknowledged."""

    def __init__(self, address):
        super().__init__()
        self.producer = Producer({"bootstrap.servers": address, "enable.idempotence": True, "linger.ms": 20,
                                  "message.timeout.ms": 120_000})
        self.done, self.count, self.failed = threading.Event(), 0, []

    def run(self):
        while not self.done.is_set():
            for _ in range(20):
                self.producer.produce(TOPIC, value=f"record-{self.count}.", partition=self.count % PARTITIONS,
                                      on_delivery=lambda error, _: self.failed.append(error) if error else None)
                self.count += 1
            self.producer.poll(0.05)
        assert self.producer.flush(120) == 0 and not self.failed, self.failed


def committed(address):
    reader = Consumer({"bootstrap.servers": address, "group.id": GROUP})
    partitions = reader.committed([TopicPartition(TOPIC, p) for p in range(PARTITIONS)], 20)
    ends = [reader.get_watermark_offsets(TopicPartition(TOPIC, p), 20)[1] for p in range(PARTITIONS)]
    reader.close()
    return [partition.offset for partition in partitions], ends


def main():
    chance = random.Random(SEED)
    print(f"seed {SEED}, up to {MEMBERS} members, {EVENTS} events", flush=True)
    members, gone = [], []
    with tempfile.TemporaryDirectory() as folder:
        work = pathlib.Path(folder)
        broker = Broker(work)
        try:
            admin = AdminClient({"bootstrap.servers": broker.address})
            admin.create_topics([NewTopic(TOPIC, PARTITIONS, 1)])[TOPIC].result(30)
            source = Source(broker.address)
            source.start()
            for number in range(MEMBERS // 2):
                members.append(Member(LIBRARIES[number % len(LIBRARIES)], broker, work))
            for event in range(EVENTS):
                time.sleep(chance.uniform(0.5, 3))
                if event % 7 == 6:
                    how = chance.choice([signal.SIGKILL, signal.SIGINT])
                    print(f"{event}: the broker gets {how.name}", flush=True)
                    broker.restart(how)
                elif len(members) < MEMBERS and (len(members) < MEMBERS // 2 or chance.random() < 0.5):
                    library = LIBRARIES[Member.count % len(LIBRARIES)]
                    print(f"{event}: a member of {library} joins", flush=True)
                    members.append(Member(library, broker, work))
                else:
                    member = members.pop(chance.randrange(len(members)))
                    how = chance.choice([signal.SIGKILL, signal.SIGTERM])
                    print(f"{event}: a member of {member.library} gets {how.name}", flush=True)
                    member.stop(how)
                    gone.append(member)
            source.done.set()
            source.join()
            deadline = time.time() + 120
            while time.time() < deadline:
                offsets, ends = committed(broker.address)
                if offsets == ends:
                    break
                time.sleep(1)
            assert sum(ends) == source.count, (sum(ends), source.count)
            assert offsets == ends, f"committed {offsets} of {ends}"
            for member in members:
                member.stop(signal.SIGTERM)
            for member in members + gone:
                member.wait()
            processed, lines = set(), 0
            by_library = dict.fromkeys(LIBRARIES, 0)
            for member in members + gone:
                for place in member.processed():
                    processed.add(place)
                    by_library[member.library] += 1
                    lines += 1
            missing = {(p, o) for p in range(PARTITIONS) for o in range(ends[p])} - processed
            assert not missing, f"{len(missing)} records were committed and never processed: {sorted(missing)[:10]}"
            offsets, ends = committed(broker.address)
            assert offsets == ends, f"committed {offsets} of {ends} after all have left"
            print(f"{source.count} records, {lines - source.count} processed again, by library {by_library}")
        except BaseException:
            print((work / "broker.log").read_text()[-4000:], file=sys.stderr)
            raise
        finally:
            for member in members + gone:
                member.process.kill()
                member.process.wait()
            broker.process.kill()
            broker.process.wait()


main()
