// kafkajs: records of several partitions and offsets of a group are committed together or not at all.
const assert = require('node:assert')
const { Kafka, logLevel } = require('kafkajs')

const [from, to, groupId] = ['kafkajs-tx-from', 'kafkajs-tx-to', 'kafkajs-tx-group']
const transactions = 9
const perTransaction = 20

async function main() {
  const kafka = new Kafka({ brokers: [process.argv[2]], clientId: 'conformance', logLevel: logLevel.NOTHING })
  const admin = kafka.admin()
  await admin.connect()
  await admin.createTopics({ topics: [{ topic: from }, { topic: to, numPartitions: 2 }], waitForLeaders: true })
  const producer = kafka.producer({ transactionalId: 'kafkajs-tx-id', maxInFlightRequests: 1, idempotent: true })
  await producer.connect()
  const expected = []
  let committed = 0
  for (let number = 0; number < transactions; number += 1) {
    const transaction = await producer.transaction()
    const values = Array.from({ length: perTransaction }, (_, i) => `${number * perTransaction + i}`)
    await transaction.send({ topic: to, messages: values.map((value, i) => ({ value, partition: i % 2 })) })
    const offset = `${(number + 1) * perTransaction}`
    await transaction.sendOffsets({ consumerGroupId: groupId, topics: [{ topic: from, partitions: [{ partition: 0, offset }] }] })
    if (number % 3 === 2) {
      await transaction.abort()
    } else {
      await transaction.commit()
      expected.push(...values)
      committed = offset
    }
  }
  await producer.disconnect()
  const [{ partitions }] = await admin.fetchOffsets({ groupId, topics: [from] })
  assert.equal(partitions[0].offset, committed)

  const seen = []
  const consumer = kafka.consumer({ groupId: `${groupId}-reader`, readUncommitted: false })
  await consumer.connect()
  await consumer.subscribe({ topics: [to], fromBeginning: true })
  await new Promise((resolve, reject) => {
    setTimeout(() => reject(new Error(`only ${seen.length} of ${expected.length} came`)), 60_000).unref()
    consumer.run({
      eachMessage: async ({ message }) => {
        seen.push(message.value.toString())
        // A little longer, for what should not come.
        if (seen.length === expected.length) setTimeout(resolve, 1000)
      },
    }).catch(reject)
  })
  await consumer.disconnect()
  await admin.disconnect()
  assert.deepEqual(seen.sort(), expected.sort())
  console.log(`${seen.length} records of committed transactions`)
}

main().catch((error) => { console.error(error); process.exit(1) })
