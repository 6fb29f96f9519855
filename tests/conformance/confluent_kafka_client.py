"""confluent-kafka (librdkafka): admin, idempotent produce, two members of one group, commit, committed, offsets by time."""

import sys
import time

from confluent_kafka import Consumer, KafkaException, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, ConfigResource, NewPartitions, NewTopic

ADDRESS, TOPIC, GROUP, COUNT = sys.argv[1], "confluent", "confluent-group", 20_000


def finish(futures):
    return {key: future.result(30) for key, future in futures.items()}


def main():
    admin = AdminClient({"bootstrap.servers": ADDRESS})
    finish(admin.create_topics([NewTopic(TOPIC, 2, 1, config={"retention.ms": "3600000"})]))
    finish(admin.create_partitions([NewPartitions(TOPIC, 4)]))
    assert len(admin.list_topics(TOPIC, timeout=10).topics[TOPIC].partitions) == 4
    try:
        finish(admin.create_topics([NewTopic(TOPIC, 1, 1)]))
        raise AssertionError("a topic was made twice")
    except KafkaException as error:
        assert error.args[0].name() == "TOPIC_ALREADY_EXISTS", error
    configs = finish(admin.describe_configs([ConfigResource("topic", TOPIC)])).popitem()[1]
    assert configs["retention.ms"].value == "3600000" and configs["cleanup.policy"].value == "delete"

    failures = []
    producer = Producer({"bootstrap.servers": ADDRESS, "enable.idempotence": True, "compression.type": "zstd", "linger.ms": 5})
    before = int(time.time() * 1000)
    for number in range(COUNT):
        producer.produce(TOPIC, key=str(number), value=f"value {number}", headers=[("n", str(number)), ("n", b"again")],
                         on_delivery=lambda error, _: failures.append(error) if error else None)
        if number % 1000 == 0:
            producer.poll(0)
    assert producer.flush(60) == 0 and not failures, failures

    members = [
        Consumer({"bootstrap.servers": ADDRESS, "group.id": GROUP, "auto.offset.reset": "earliest",
                  "enable.auto.commit": False, "client.id": f"member-{i}"})
        for i in range(2)
    ]
    for member in members:
        member.subscribe([TOPIC])
    seen, by_member, deadline = {}, [0, 0], time.time() + 60
    while len(seen) < COUNT and time.time() < deadline:
        for index, member in enumerate(members):
            for message in member.consume(2000, 0.2):
                assert message.error() is None, message.error()
                assert message.headers() == [("n", message.key()), ("n", b"again")]
                seen[int(message.key())] = message.value().decode()
                by_member[index] += 1
    assert len(seen) == COUNT and all(seen[n] == f"value {n}" for n in seen), len(seen)
    for member in members:
        member.commit(asynchronous=False)
    assert sum(len(member.assignment()) for member in members) == 4
    committed = sum(offset.offset for member in members for offset in member.committed(member.assignment(), 10))
    assert committed == COUNT, committed
    partitions = [TopicPartition(TOPIC, p, before) for p in range(4)]
    assert all(found.offset == 0 for found in members[0].offsets_for_times(partitions, 10))
    for member in members:
        member.close()

    groups = finish(admin.describe_consumer_groups([GROUP]))
    assert groups[GROUP].group_id == GROUP
    assert any(listing.group_id == GROUP for listing in admin.list_consumer_groups().result(10).valid)
    again = Consumer({"bootstrap.servers": ADDRESS, "group.id": GROUP, "auto.offset.reset": "earliest"})
    again.subscribe([TOPIC])
    assert again.poll(3) is None, "what was committed came again"
    again.close()
    finish(admin.delete_consumer_groups([GROUP]))
    finish(admin.delete_topics([TOPIC]))
    print(f"{COUNT} records, {by_member} by member")


main()
