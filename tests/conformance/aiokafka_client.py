"""aiokafka: admin, idempotent produce, a group of two, commit, resume."""

import asyncio
import sys

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

ADDRESS, TOPIC, GROUP, COUNT = sys.argv[1], "aiokafka", "aiokafka-group", 5000


def member():
    return AIOKafkaConsumer(TOPIC, bootstrap_servers=ADDRESS, group_id=GROUP, auto_offset_reset="earliest",
                            enable_auto_commit=False)


async def main():
    admin = AIOKafkaAdminClient(bootstrap_servers=ADDRESS)
    await admin.start()
    await admin.create_topics([NewTopic(TOPIC, 4, 1)])

    producer = AIOKafkaProducer(bootstrap_servers=ADDRESS, enable_idempotence=True, compression_type="gzip")
    await producer.start()
    sent = [await producer.send(TOPIC, key=b"%d" % n, value=b"value %d" % n) for n in range(COUNT)]
    assert {(await delivery).partition for delivery in sent} == {0, 1, 2, 3}
    await producer.stop()

    members = [member(), member()]
    await asyncio.gather(*(each.start() for each in members))
    seen = set()

    async def read(each):
        while len(seen) < COUNT:
            for records in (await each.getmany(timeout_ms=300)).values():
                seen.update(int(record.key) for record in records)
        await each.commit()

    await asyncio.wait_for(asyncio.gather(*(read(each) for each in members)), 60)
    assert seen == set(range(COUNT))
    committed = [await members[0].committed(TopicPartition(TOPIC, p)) for p in range(4)]
    assert sum(offset or 0 for offset in committed) == COUNT, committed
    await asyncio.gather(*(each.stop() for each in members))

    resumed = member()
    await resumed.start()
    assert not await resumed.getmany(timeout_ms=3000), "what was committed came again"
    await resumed.stop()
    await admin.delete_topics([TOPIC])
    await admin.close()
    print(f"{COUNT} records")


asyncio.run(main())
