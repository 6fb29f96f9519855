// kafkajs over TLS with SASL: alice writes and reads her topic, and is refused with a wrong password.
// Usage: security_client.js CA ADDRESS
const fs = require("fs");
const { Kafka, logLevel } = require("kafkajs");
const [ca, address] = process.argv.slice(2);

const client = (mechanism, password) =>
  new Kafka({
    brokers: [address],
    ssl: { ca: [fs.readFileSync(ca, "utf8")] },
    sasl: { mechanism, username: "alice", password },
    logLevel: logLevel.NOTHING,
    retry: { retries: 0 },
  });

async function main() {
  for (const [mechanism, password] of [["plain", "plain secret"], ["scram-sha-256", "scram secret"], ["scram-sha-512", "scram secret"]]) {
    const kafka = client(mechanism, password);
    const producer = kafka.producer();
    await producer.connect();
    await producer.send({ topic: "hers", messages: Array.from({ length: 100 }, () => ({ value: mechanism })) });
    await producer.disconnect();
    const consumer = kafka.consumer({ groupId: `g-kafkajs-${mechanism}` });
    await consumer.connect();
    await consumer.subscribe({ topics: ["hers"], fromBeginning: true });
    let found = 0;
    await new Promise((resolve, reject) => {
      setTimeout(() => reject(new Error(`${mechanism}: ${found} of 100`)), 30000).unref();
      consumer.run({
        eachMessage: async ({ message }) => {
          found += message.value.toString() === mechanism;
          if (found === 100) resolve();
        },
      });
    });
    await consumer.disconnect();
  }
  const refused = await client("plain", "wrong secret").admin().connect().then(() => null, (error) => error);
  if (!/Authentication/i.test(String(refused))) throw new Error(`not refused: ${refused}`);
}

main().then(() => process.exit(0), (error) => { console.error(error); process.exit(1); });
