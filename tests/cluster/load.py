"""A producer with librdkafka's default settings (and acks=all) that never stops, and whether all that was acknowledged to it is there."""

import threading
import time

from confluent_kafka import Consumer, Producer, TopicPartition

TOPIC = "kept"
PAUSE = 0.005


class Writer(threading.Thread):
    """Sends a number every few milliseconds, and knows when each was acknowledged."""

    def __init__(self, bootstrap):
        super().__init__(daemon=True)
        self.producer = Producer({"bootstrap.servers": bootstrap, "acks": "all"})
        self.acked, self.failed, self.times = [], [], []
        self.is_over = threading.Event()

    def run(self):
        number = 0
        while not self.is_over.is_set():
            self.producer.produce(TOPIC, key=b"k", value=str(number), partition=0, on_delivery=self.delivered)
            number += 1
            self.producer.poll(PAUSE)
        self.producer.flush(60)
        self.sent = number

    def delivered(self, error, message):
        if error is None:
            self.acked.append(int(message.value()))
            self.times.append(time.monotonic())
        else:
            self.failed.append(str(error))

    def longest_gap(self, begin):
        times = [begin] + [each for each in self.times if each > begin]
        return max(b - a for a, b in zip(times, times[1:] + [time.monotonic()]))


def check(cluster, writer):
    consumer = Consumer({"bootstrap.servers": cluster.bootstrap, "group.id": "check", "enable.auto.commit": False})
    partition = TopicPartition(TOPIC, 0, 0)
    consumer.assign([partition])
    _, end = consumer.get_watermark_offsets(partition, timeout=30)
    read = []
    while consumer.position([partition])[0].offset < end:
        message = consumer.poll(10)
        if message is None:
            raise SystemExit("the records cannot be read to the end")
        read.append(int(message.value()))
    consumer.close()
    missing = set(writer.acked) - set(read)
    if missing:
        raise SystemExit(f"{len(missing)} acknowledged records are missing, such as {sorted(missing)[:5]}")
    if writer.failed:
        raise SystemExit(f"{len(writer.failed)} records were refused: {writer.failed[0]}")
    print(f"{len(writer.acked)} of {writer.sent} records acknowledged, all of them there, {len(writer.failed)} refused")
