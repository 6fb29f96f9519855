// kafkajs: admin, idempotent produce, a group, commit, resume from the commit.
const assert = require('node:assert')
const { Kafka, logLevel, CompressionTypes } = require('kafkajs')

const topic = 'kafkajs'
const groupId = 'kafkajs-group'
const count = 5000

async function main() {
  const kafka = new Kafka({ brokers: [process.argv[2]], clientId: 'conformance', logLevel: logLevel.ERROR })
  const admin = kafka.admin()
  await admin.connect()
  assert(await admin.createTopics({ topics: [{ topic, numPartitions: 3 }], waitForLeaders: true }))

  const producer = kafka.producer({ idempotent: true, maxInFlightRequests: 1 })
  await producer.connect()
  for (let from = 0; from < count; from += 1000) {
    const messages = Array.from({ length: 1000 }, (_, i) => ({ key: `${from + i}`, value: `value ${from + i}` }))
    await producer.send({ topic, acks: -1, messages, compression: CompressionTypes.GZIP })
  }
  await producer.disconnect()
  const ends = await admin.fetchTopicOffsets(topic)
  assert.equal(ends.reduce((sum, each) => sum + Number(each.high), 0), count)

  const seen = new Set()
  const consumer = kafka.consumer({ groupId })
  await consumer.connect()
  await consumer.subscribe({ topics: [topic], fromBeginning: true })
  await new Promise((resolve, reject) => {
    setTimeout(() => reject(new Error(`only ${seen.size} of ${count} came`)), 60_000).unref()
    consumer.run({
      eachMessage: async ({ message }) => {
        seen.add(Number(message.key.toString()))
        if (seen.size === count) resolve()
      },
    }).catch(reject)
  })
  await consumer.stop()
  await consumer.disconnect()
  const [{ partitions }] = await admin.fetchOffsets({ groupId, topics: [topic] })
  assert.equal(partitions.reduce((sum, each) => sum + Number(each.offset), 0), count)
  await admin.deleteGroups([groupId])
  await admin.deleteTopics({ topics: [topic] })
  await admin.disconnect()
  console.log(`${count} records`)
}

main().catch((error) => { console.error(error); process.exit(1) })
