"""Transactions of other libraries: records of several partitions and offsets of a group are committed together or not at all,
readers of committed records see nothing else, and a second producer of a transactional id fences the first.

Usage: transactional_clients.py confluent|aiokafka|kafka_python ADDRESS
"""

import asyncio
import sys
import time

WHAT, ADDRESS = sys.argv[1:3]
FROM, TO, GROUP, ID = (f"{WHAT}-{name}" for name in ("tx-from", "tx-to", "tx-group", "tx-id"))
COUNT, PER_TRANSACTION = 200, 20


def is_committed(number):
    """Whether the transaction of this number is one that is committed."""
    return number // PER_TRANSACTION % 3 != 2


EXPECTED = sorted(number for number in range(COUNT) if is_committed(number))


def confluent():
    from confluent_kafka import Consumer, KafkaException, Producer, TopicPartition
    from confluent_kafka.admin import AdminClient, NewTopic

    admin = AdminClient({"bootstrap.servers": ADDRESS})
    for future in admin.create_topics([NewTopic(FROM, 1, 1), NewTopic(TO, 2, 1)]).values():
        future.result(30)
    base = {"bootstrap.servers": ADDRESS, "transactional.id": ID}
    old = Producer(base)
    old.init_transactions(30)
    old.begin_transaction()
    old.produce(TO, b"-1", partition=0)
    old.flush(30)
    producer = Producer(base)
    producer.init_transactions(30)
    try:
        old.commit_transaction(30)
        raise AssertionError("a fenced producer committed")
    except KafkaException as error:
        assert error.args[0].fatal(), error
    reader = Consumer({"bootstrap.servers": ADDRESS, "group.id": GROUP, "enable.auto.commit": False, "auto.offset.reset": "earliest"})
    reader.subscribe([FROM])
    deadline = time.time() + 60
    while not reader.assignment():
        reader.poll(0.1)
        assert time.time() < deadline
    for number in range(COUNT):
        if number % PER_TRANSACTION == 0:
            producer.begin_transaction()
        producer.produce(TO, str(number), partition=number % 2)
        if number % PER_TRANSACTION == PER_TRANSACTION - 1:
            offsets = [TopicPartition(FROM, 0, number + 1)]
            producer.send_offsets_to_transaction(offsets, reader.consumer_group_metadata(), 30)
            if is_committed(number):
                producer.commit_transaction(30)
            else:
                producer.abort_transaction(30)
    committed = reader.committed([TopicPartition(FROM, 0)], 30)[0].offset
    assert committed == max(EXPECTED) + 1, committed
    reader.close()
    found = []
    consumer = Consumer({"bootstrap.servers": ADDRESS, "group.id": f"{GROUP}-r", "isolation.level": "read_committed",
                         "enable.partition.eof": True, "auto.offset.reset": "earliest"})
    consumer.assign([TopicPartition(TO, partition, 0) for partition in range(2)])
    ends = 0
    while ends < 2:
        message = consumer.poll(10)
        assert message is not None, "the end does not come"
        if message.error():
            ends += 1
        else:
            found.append(int(message.value()))
    consumer.close()
    return found


async def aiokafka():
    from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
    from aiokafka.admin import AIOKafkaAdminClient, NewTopic
    from aiokafka.errors import KafkaError

    admin = AIOKafkaAdminClient(bootstrap_servers=ADDRESS)
    await admin.start()
    await admin.create_topics([NewTopic(FROM, 1, 1), NewTopic(TO, 2, 1)])
    await admin.close()
    old, producer = (AIOKafkaProducer(bootstrap_servers=ADDRESS, transactional_id=ID) for _ in range(2))
    await old.start()
    await old.begin_transaction()
    await old.send_and_wait(TO, b"-1", partition=0)
    await producer.start()
    try:
        await old.commit_transaction()
        raise AssertionError("a fenced producer committed")
    except KafkaError:
        pass
    for first in range(0, COUNT, PER_TRANSACTION):
        await producer.begin_transaction()
        for number in range(first, first + PER_TRANSACTION):
            await producer.send(TO, b"%d" % number, partition=number % 2)
        await producer.send_offsets_to_transaction({TopicPartition(FROM, 0): first + PER_TRANSACTION}, GROUP)
        if is_committed(first):
            await producer.commit_transaction()
        else:
            await producer.abort_transaction()
    await producer.stop()
    reader = AIOKafkaConsumer(bootstrap_servers=ADDRESS, group_id=GROUP, enable_auto_commit=False)
    await reader.start()
    committed = await reader.committed(TopicPartition(FROM, 0))
    assert committed == max(EXPECTED) + 1, committed
    await reader.stop()
    consumer = AIOKafkaConsumer(bootstrap_servers=ADDRESS, isolation_level="read_committed")
    await consumer.start()
    places = [TopicPartition(TO, partition) for partition in range(2)]
    consumer.assign(places)
    await consumer.seek_to_beginning()
    found = []
    while len(found) < len(EXPECTED):
        batch = await asyncio.wait_for(consumer.getmany(timeout_ms=1000), 30)
        found += [int(record.value) for records in batch.values() for record in records]
    found += [int(record.value) for records in (await consumer.getmany(timeout_ms=1000)).values() for record in records]
    await consumer.stop()
    return found


def kafka_python():
    from kafka import KafkaAdminClient, KafkaConsumer, KafkaProducer, TopicPartition
    from kafka.admin import NewTopic
    from kafka.errors import KafkaError
    from kafka.structs import OffsetAndMetadata

    admin = KafkaAdminClient(bootstrap_servers=ADDRESS)
    admin.create_topics([NewTopic(FROM, 1, 1), NewTopic(TO, 2, 1)])
    old, producer = (KafkaProducer(bootstrap_servers=ADDRESS, transactional_id=ID) for _ in range(2))
    old.init_transactions()
    old.begin_transaction()
    old.send(TO, b"-1", partition=0).get(30)
    producer.init_transactions()
    try:
        old.commit_transaction()
        raise AssertionError("a fenced producer committed")
    except KafkaError:
        pass
    for first in range(0, COUNT, PER_TRANSACTION):
        producer.begin_transaction()
        for number in range(first, first + PER_TRANSACTION):
            producer.send(TO, b"%d" % number, partition=number % 2)
        offsets = {TopicPartition(FROM, 0): OffsetAndMetadata(first + PER_TRANSACTION, "", -1)}
        producer.send_offsets_to_transaction(offsets, GROUP)
        if is_committed(first):
            producer.commit_transaction()
        else:
            producer.abort_transaction()
    producer.close()
    reader = KafkaConsumer(bootstrap_servers=ADDRESS, group_id=GROUP, enable_auto_commit=False)
    committed = reader.committed(TopicPartition(FROM, 0))
    assert committed == max(EXPECTED) + 1, committed
    reader.close()
    consumer = KafkaConsumer(bootstrap_servers=ADDRESS, isolation_level="read_committed", consumer_timeout_ms=5000)
    consumer.assign([TopicPartition(TO, partition) for partition in range(2)])
    consumer.seek_to_beginning()
    return [int(record.value) for record in consumer]


if __name__ == "__main__":
    found = {"confluent": confluent, "aiokafka": lambda: asyncio.run(aiokafka()), "kafka_python": kafka_python}[WHAT]()
    assert sorted(found) == EXPECTED, (len(found), len(EXPECTED))
    print(f"{len(found)} records of committed transactions")
