"""One member of a group: reads a topic, writes a line for each record that it processed, and commits what it wrote.

Usage: group_member.py LIBRARY ADDRESS TOPIC GROUP FILE. SIGTERM has it commit, leave and end.
"""

import asyncio
import signal
import sys

LIBRARY, ADDRESS, TOPIC, GROUP, FILE = sys.argv[1:]
running = True


def stop(*_):
    global running
    running = False


signal.signal(signal.SIGTERM, stop)
processed = open(FILE, "a", buffering=1)


def note(partition, offset, value):
    processed.write(f"{partition} {offset} {value.decode()}\n")


def confluent(protocol):
    from confluent_kafka import Consumer, KafkaException

    settings = {"bootstrap.servers": ADDRESS, "group.id": GROUP, "auto.offset.reset": "earliest", "enable.auto.commit": False,
                "group.protocol": protocol, "client.id": f"confluent-{protocol}"}
    if protocol == "classic":
        settings |= {"session.timeout.ms": 6000, "heartbeat.interval.ms": 1000, "partition.assignment.strategy": "range"}
    consumer = Consumer(settings)
    consumer.subscribe([TOPIC])
    while running:
        for message in consumer.consume(500, 0.3):
            if message.error() is None:
                note(message.partition(), message.offset(), message.value())
        try:
            consumer.commit(asynchronous=False)
        except KafkaException:
            # Nothing to commit, or the partitions are another's by now, who reads on from the last commit.
            pass
    consumer.close()


def kafka_python():
    from kafka import KafkaConsumer
    from kafka.errors import KafkaError

    consumer = KafkaConsumer(TOPIC, bootstrap_servers=ADDRESS, group_id=GROUP, auto_offset_reset="earliest",
                             enable_auto_commit=False, session_timeout_ms=6000, heartbeat_interval_ms=1000,
                             client_id="kafka-python")
    while running:
        try:
            for records in consumer.poll(timeout_ms=300, max_records=500).values():
                for record in records:
                    note(record.partition, record.offset, record.value)
            consumer.commit()
        except KafkaError:
            pass
    consumer.close()


async def aiokafka():
    from aiokafka import AIOKafkaConsumer
    from aiokafka.coordinator.assignors.range import RangePartitionAssignor
    from aiokafka.errors import KafkaError

    consumer = AIOKafkaConsumer(TOPIC, bootstrap_servers=ADDRESS, group_id=GROUP, auto_offset_reset="earliest",
                                enable_auto_commit=False, session_timeout_ms=6000, heartbeat_interval_ms=1000,
                                partition_assignment_strategy=[RangePartitionAssignor], client_id="aiokafka")
    while running:
        try:
            await consumer.start()
            break
        except KafkaError:
            await asyncio.sleep(0.3)
    while running:
        try:
            for records in (await consumer.getmany(timeout_ms=300, max_records=500)).values():
                for record in records:
                    note(record.partition, record.offset, record.value)
            await consumer.commit()
        except KafkaError:
            await asyncio.sleep(0.1)
    await consumer.stop()


if LIBRARY == "kafka-python":
    kafka_python()
elif LIBRARY == "aiokafka":
    asyncio.run(aiokafka())
else:
    confluent(LIBRARY.removeprefix("confluent-"))
