// A producer with the default settings of Kafka's own client: sends a number every few milliseconds, from FIRST on, and says each that was
// acknowledged. It ends, with everything sent, when there is a line for it to read.
//
//     Write BOOTSTRAP TOPIC FIRST

import java.io.IOException;
import java.util.Map;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.common.serialization.StringSerializer;

public class Write {
    private static final long PAUSE_MS = 5;

    public static void main(String[] arguments) throws InterruptedException, IOException {
        Map<String, Object> settings = Map.of("bootstrap.servers", arguments[0]);
        long first = Long.parseLong(arguments[2]);
        long number = first;
        try (KafkaProducer<String, String> producer =
                new KafkaProducer<>(settings, new StringSerializer(), new StringSerializer())) {
            while (System.in.available() == 0) {
                String value = Long.toString(number++);
                producer.send(new ProducerRecord<>(arguments[1], 0, "k", value), (metadata, error) ->
                    say(error == null ? "acknowledged " + value : "failed " + error));
                Thread.sleep(PAUSE_MS);
            }
        }
        say("sent " + (number - first));
    }

    private static synchronized void say(String line) {
        System.out.println(line);
        System.out.flush();
    }
}
