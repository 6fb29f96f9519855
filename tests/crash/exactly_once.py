"""A copy loop in transactions (consume, transform, produce, commit offsets) that survives having its copier and its broker
killed: the output is the input, every record once and in the order of its partition.

Usage: exactly_once.py CYCLES SEED COMMAND [COPIER], where COMMAND starts the broker with {dir} and {listen} filled in, and
prints a ready line, and COPIER starts another copier than that in here, given the broker's address. Half of the cycles
kill the copier, half the broker, each at a random moment.
"""

import os
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time

PARTITIONS, BATCH = 4, 200


def copier(address):
    """Copies until it is killed. Whatever goes wrong ends it: the next one, a static member, takes its place at once and
    begins where the last transaction ended."""
    from confluent_kafka import Consumer, Producer, TopicPartition

    consumer = Consumer({"bootstrap.servers": address, "group.id": "copier", "auto.offset.reset": "earliest",
                         "enable.auto.commit": False, "isolation.level": "read_committed", "session.timeout.ms": 6000,
                         "group.instance.id": "copier", "log_level": 3})
    # No re-bootstrap: when the only broker goes it drops the group's coordinator from what it knows but not from its cache,
    # and sending offsets waits for that one, without regard for the timeout (librdkafka issues 5511 and 5456).
    producer = Producer({"bootstrap.servers": address, "transactional.id": "copier", "transaction.timeout.ms": 10_000,
                         "linger.ms": 1, "metadata.recovery.strategy": "none"})
    producer.init_transactions(30)
    consumer.subscribe(["input"])
    while True:
        messages = [message for message in consumer.consume(BATCH, 0.2) if message.error() is None]
        if not messages:
            continue
        producer.begin_transaction()
        for message in messages:
            producer.produce("output", b"copied " + message.value(), partition=message.partition())
        producer.send_offsets_to_transaction(
            consumer.position(consumer.assignment()), consumer.consumer_group_metadata(), 30)
        # Some transactions end as those of a copier that changed its mind.
        if random.random() < 0.1:
            producer.abort_transaction(30)
            for position in consumer.committed(consumer.assignment(), 30):
                consumer.seek(TopicPartition(position.topic, position.partition, max(position.offset, 0)))
        else:
            producer.commit_transaction(30)


class Broker:
    def __init__(self, command, folder, log):
        self.command, self.folder, self.log, self.listen = command, folder, log, "127.0.0.1:0"
        self.start()

    def start(self):
        command = self.command.format(dir=self.folder, listen=self.listen)
        deadline = time.time() + 60
        while True:
            self.process = subprocess.Popen(command.split(), stdout=subprocess.PIPE, stderr=self.log, text=True)
            line = self.process.stdout.readline()
            found = re.match(r"ready kafka=(\S+)", line)
            if found:
                self.listen = found[1]
                return
            assert time.time() < deadline, "the broker does not start"
            time.sleep(0.2)

    def kill(self):
        self.process.kill()
        self.process.wait()
        self.start()

    def stop(self):
        self.process.send_signal(signal.SIGINT)
        self.process.wait()


def read(address, topic):
    """The values of each partition up to its end, as read_committed shows them."""
    from confluent_kafka import Consumer, TopicPartition

    consumer = Consumer({"bootstrap.servers": address, "group.id": "reader", "enable.auto.commit": False,
                         "isolation.level": "read_committed", "enable.partition.eof": True, "log_level": 3})
    consumer.assign([TopicPartition(topic, partition, 0) for partition in range(PARTITIONS)])
    values, ended, deadline = [[] for _ in range(PARTITIONS)], set(), time.time() + 120
    while len(ended) < PARTITIONS and time.time() < deadline:
        message = consumer.poll(1)
        if message is None:
            continue
        if message.error() is None:
            values[message.partition()].append(message.value())
        elif message.error().name() == "_PARTITION_EOF":
            ended.add(message.partition())
    consumer.close()
    assert len(ended) == PARTITIONS, "the end is not reached"
    return values


def committed(address):
    """Up to where the copier has got in each partition."""
    from confluent_kafka import Consumer, TopicPartition

    consumer = Consumer({"bootstrap.servers": address, "group.id": "copier", "log_level": 3})
    positions = consumer.committed([TopicPartition("input", partition) for partition in range(PARTITIONS)], 30)
    consumer.close()
    return [position.offset for position in positions]


def main():
    from confluent_kafka import Producer
    from confluent_kafka.admin import AdminClient, NewTopic

    cycles, seed, command = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
    copier_command = sys.argv[4].split() if len(sys.argv) > 4 else [sys.executable, __file__, "copier"]
    # Another copier may take a while to start.
    life_max = 1.5 if len(sys.argv) <= 4 else 4
    print(f"seed {seed}")
    chance = random.Random(seed)
    folder = tempfile.mkdtemp()
    log = open(os.path.join(folder, "broker.log"), "w")
    copier_log = open(os.path.join(folder, "copier.log"), "w")
    broker = Broker(command, os.path.join(folder, "data"), log)
    running = None
    try:
        admin = AdminClient({"bootstrap.servers": broker.listen})
        for future in admin.create_topics([NewTopic(topic, PARTITIONS, 1) for topic in ("input", "output")]).values():
            future.result(30)
        producer = Producer({"bootstrap.servers": broker.listen, "enable.idempotence": True})
        sent = [0] * PARTITIONS
        kills = {"copier": 0, "broker": 0}

        def start_copier():
            return subprocess.Popen([*copier_command, broker.listen], stderr=copier_log)

        running = start_copier()
        for cycle in range(cycles):
            for _ in range(PARTITIONS * BATCH * 2):
                partition = chance.randrange(PARTITIONS)
                producer.produce("input", str(sent[partition]).encode(), partition=partition)
                sent[partition] += 1
            until = time.time() + chance.uniform(0.1, life_max)
            while time.time() < until:
                producer.poll(0.05)
                if running.poll() is not None:
                    running = start_copier()
            if cycle % 2:
                broker.kill()
                kills["broker"] += 1
            else:
                running.kill()
                running.wait()
                running = start_copier()
                kills["copier"] += 1
        assert producer.flush(120) == 0, "the input is not written"
        wanted = [[b"copied %d" % number for number in range(count)] for count in sent]
        deadline = time.time() + 180
        while committed(broker.listen) != sent and time.time() < deadline:
            if running.poll() is not None:
                running = start_copier()
            time.sleep(0.2)
        found = read(broker.listen, "output")
        for partition, (have, want) in enumerate(zip(found, wanted)):
            if have != want:
                place = next((at for at, pair in enumerate(zip(have, want)) if pair[0] != pair[1]), min(len(have), len(want)))
                raise SystemExit(f"FAILED (seed {seed}): output-{partition} has {len(have)} records of {len(want)}; "
                                 f"they differ from place {place}: {have[place - 2:place + 3]}, log: {folder}")
        print(f"exactly once: {sum(sent)} records, {kills['copier']} copiers and {kills['broker']} brokers killed")
    finally:
        if running is not None:
            running.kill()
            running.wait()
        broker.stop()
        log.close()
        copier_log.close()
    shutil.rmtree(folder)


if __name__ == "__main__":
    if sys.argv[1] != "copier":
        main()
    else:
        try:
            copier(sys.argv[2])
        finally:
            # At once: closing a client whose broker is away can take minutes.
            os._exit(1)
