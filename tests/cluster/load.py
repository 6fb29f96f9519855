"""A producer with its library's default settings that never stops, and whether all that was acknowledged to it is there."""

import pathlib
import subprocess
import threading
import time

from confluent_kafka import Consumer, Producer, TopicPartition

TOPIC = "kept"
PAUSE = 0.005


class Writer(threading.Thread):
    """Sends a number every few milliseconds, from the first one on, and knows when each was acknowledged."""

    def __init__(self, first):
        super().__init__(daemon=True)
        self.first, self.sent = first, 0
        self.acked, self.failed, self.times = [], [], []
        self.is_over = threading.Event()

    def acknowledged(self, number):
        self.acked.append(number)
        self.times.append(time.monotonic())

    def longest_gap(self, begin):
        times = [begin] + [each for each in self.times if each > begin]
        return max(b - a for a, b in zip(times, times[1:] + [time.monotonic()]))


class LibrdkafkaWriter(Writer):
    def __init__(self, bootstrap, first=0):
        super().__init__(first)
        self.producer = Producer({"bootstrap.servers": bootstrap, "acks": "all"})

    def run(self):
        while not self.is_over.is_set():
            value = str(self.first + self.sent)
            self.producer.produce(TOPIC, key=b"k", value=value, partition=0, on_delivery=self.delivered)
            self.sent += 1
            self.producer.poll(PAUSE)
        self.producer.flush(60)

    def delivered(self, error, message):
        if error is None:
            self.acknowledged(int(message.value()))
        else:
            self.failed.append(str(error))


class JavaWriter(Writer):
    """With Kafka's own client; `libs` is the folder with its jars."""

    def __init__(self, bootstrap, libs, first=0):
        super().__init__(first)
        program = str(pathlib.Path(__file__).with_name("Write.java"))
        self.command = ["java", "-cp", f"{libs}/*", program, bootstrap, TOPIC, str(first)]

    def run(self):
        with subprocess.Popen(self.command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
            hearing = threading.Thread(target=lambda: [self.hear(line) for line in process.stdout], daemon=True)
            hearing.start()
            self.is_over.wait()
            process.stdin.write("\n")
            process.stdin.flush()
            hearing.join()

    def hear(self, line):
        word, _, rest = line.strip().partition(" ")
        if word == "acknowledged":
            self.acknowledged(int(rest))
        elif word == "failed":
            self.failed.append(rest)
        elif word == "sent":
            self.sent = int(rest)


def check(cluster, *writers):
    """Ends the program where something is missing that was acknowledged, or something was refused."""
    consumer = Consumer({"bootstrap.servers": cluster.bootstrap, "group.id": "check", "enable.auto.commit": False})
    partition = TopicPartition(TOPIC, 0, 0)
    consumer.assign([partition])
    _, end = consumer.get_watermark_offsets(partition, timeout=30)
    read = set()
    while consumer.position([partition])[0].offset < end:
        message = consumer.poll(10)
        if message is None:
            raise SystemExit("the records cannot be read to the end")
        read.add(int(message.value()))
    consumer.close()
    acked = {number for writer in writers for number in writer.acked}
    failed = [reason for writer in writers for reason in writer.failed]
    if missing := acked - read:
        raise SystemExit(f"{len(missing)} acknowledged records are missing, such as {sorted(missing)[:5]}")
    if failed:
        raise SystemExit(f"{len(failed)} records were refused: {failed[0]}")
    sent = sum(writer.sent for writer in writers)
    print(f"{len(acked)} of {sent} records acknowledged, all of them there, {len(failed)} refused")
