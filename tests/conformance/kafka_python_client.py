"""kafka-python: admin, produce with acks=all, a group, commit, seek, offsets."""

import sys
import time

from kafka import KafkaAdminClient, KafkaConsumer, KafkaProducer, TopicPartition
from kafka.admin import NewTopic

ADDRESS, TOPIC, GROUP, COUNT = sys.argv[1], "kafka-python", "kafka-python-group", 5000


def consume(consumer, count, seconds):
    seen, deadline = [], time.time() + seconds
    while len(seen) < count and time.time() < deadline:
        for records in consumer.poll(timeout_ms=500).values():
            seen.extend(records)
    return seen


def main():
    admin = KafkaAdminClient(bootstrap_servers=ADDRESS)
    admin.create_topics([NewTopic(name=TOPIC, num_partitions=3, replication_factor=1)])
    producer = KafkaProducer(bootstrap_servers=ADDRESS, acks="all", compression_type="gzip", linger_ms=5)
    sent = [producer.send(TOPIC, key=b"%d" % n, value=b"value %d" % n) for n in range(COUNT)]
    producer.flush()
    offsets = [future.get(30) for future in sent]
    assert {meta.partition for meta in offsets} == {0, 1, 2}

    consumer = KafkaConsumer(TOPIC, bootstrap_servers=ADDRESS, group_id=GROUP, auto_offset_reset="earliest",
                             enable_auto_commit=False)
    seen = consume(consumer, COUNT, 60)
    assert sorted(int(record.key) for record in seen) == list(range(COUNT)), len(seen)
    consumer.commit()
    partitions = [TopicPartition(TOPIC, p) for p in range(3)]
    assert sum(consumer.committed(partition) for partition in partitions) == COUNT
    assert sum(consumer.end_offsets(partitions).values()) == COUNT
    assert all(offset == 0 for offset in consumer.beginning_offsets(partitions).values())
    first = partitions[0]
    consumer.seek(first, 5)
    again = next(record for record in consume(consumer, 1, 30) if record.partition == 0)
    assert again.offset == 5
    consumer.close()

    resumed = KafkaConsumer(TOPIC, bootstrap_servers=ADDRESS, group_id=GROUP, auto_offset_reset="earliest")
    assert consume(resumed, 1, 4) == [], "what was committed came again"
    resumed.close()
    admin.delete_topics([TOPIC])
    print(f"{COUNT} records")


main()
