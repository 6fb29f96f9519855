// A copy loop in transactions with Kafka's own client, as copier() in exactly_once.py is with librdkafka: until it is killed;
// whatever goes wrong ends it. The Java client speaks version 2 of transactions where the cluster does.

import java.time.Duration;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Random;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.ConsumerRecords;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.clients.consumer.OffsetAndMetadata;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.serialization.StringDeserializer;
import org.apache.kafka.common.serialization.StringSerializer;

public class Copy {
    public static void main(String[] arguments) {
        try {
            copy(arguments[0]);
        } catch (Throwable error) {
            error.printStackTrace();
        }
        // At once: closing a client whose broker is away can take minutes.
        Runtime.getRuntime().halt(1);
    }

    private static void copy(String address) {
        Map<String, Object> reads = new HashMap<>(Map.of(
            "bootstrap.servers", address, "group.id", "copier", "group.instance.id", "copier", "auto.offset.reset", "earliest",
            "enable.auto.commit", "false", "isolation.level", "read_committed", "session.timeout.ms", "6000",
            "max.poll.records", "200"));
        Map<String, Object> writes = new HashMap<>(Map.of(
            "bootstrap.servers", address, "transactional.id", "copier", "transaction.timeout.ms", "10000", "linger.ms", "1",
            "max.block.ms", "30000", "delivery.timeout.ms", "20000", "request.timeout.ms", "5000"));
        KafkaConsumer<String, String> consumer =
            new KafkaConsumer<>(reads, new StringDeserializer(), new StringDeserializer());
        KafkaProducer<String, String> producer = new KafkaProducer<>(writes, new StringSerializer(), new StringSerializer());
        Random random = new Random();
        producer.initTransactions();
        consumer.subscribe(List.of("input"));
        while (true) {
            ConsumerRecords<String, String> records = consumer.poll(Duration.ofMillis(200));
            if (records.isEmpty()) {
                continue;
            }
            producer.beginTransaction();
            for (ConsumerRecord<String, String> record : records) {
                producer.send(new ProducerRecord<>("output", record.partition(), null, "copied " + record.value()));
            }
            Map<TopicPartition, OffsetAndMetadata> positions = new HashMap<>();
            for (TopicPartition partition : consumer.assignment()) {
                positions.put(partition, new OffsetAndMetadata(consumer.position(partition)));
            }
            producer.sendOffsetsToTransaction(positions, consumer.groupMetadata());
            // Some transactions end as those of a copier that changed its mind.
            if (random.nextInt(10) > 0) {
                producer.commitTransaction();
                continue;
            }
            producer.abortTransaction();
            consumer.committed(consumer.assignment()).forEach((partition, position) ->
                consumer.seek(partition, position == null ? 0 : position.offset()));
        }
    }
}
