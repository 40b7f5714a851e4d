import com.fasterxml.jackson.databind.ObjectMapper;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.util.List;
import java.util.Map;
import io.apicurio.registry.serde.avro.AvroKafkaDeserializer;
import io.apicurio.registry.serde.avro.AvroKafkaSerializer;
import org.apache.avro.Schema;
import org.apache.avro.generic.GenericDatumReader;
import org.apache.avro.generic.GenericRecord;
import org.apache.avro.io.DecoderFactory;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.serialization.StringDeserializer;
import org.apache.kafka.common.serialization.StringSerializer;

/** Reads and writes generic records with somebody's serdes, as they are unless told otherwise. */
public class JavaSerdes {
    private static final ObjectMapper JSON = new ObjectMapper();

    public static void main(String[] arguments) throws Exception {
        if (arguments[0].equals("read")) {
            read(arguments[1], arguments[2], arguments[3]);
        } else {
            write(arguments[1], arguments[2], arguments[3], arguments[4], arguments[5], arguments[6]);
        }
        System.exit(0); // the registry's client leaves threads behind
    }

    /** Prints one JSON line for each record of the topic. */
    private static void read(String servers, String registry, String topic) throws Exception {
        Map<String, Object> config = Map.of(
            "bootstrap.servers", servers,
            "isolation.level", "read_committed",
            "key.deserializer", StringDeserializer.class,
            "value.deserializer", AvroKafkaDeserializer.class,
            "apicurio.registry.url", registry);
        try (var consumer = new KafkaConsumer<String, GenericRecord>(config)) {
            List<TopicPartition> partitions =
                consumer.partitionsFor(topic).stream().map(p -> new TopicPartition(topic, p.partition())).toList();
            consumer.assign(partitions);
            consumer.seekToBeginning(partitions);
            Map<TopicPartition, Long> ends = consumer.endOffsets(partitions);
            while (partitions.stream().anyMatch(p -> consumer.position(p) < ends.get(p))) {
                for (var record : consumer.poll(Duration.ofSeconds(1))) {
                    var line = JSON.createObjectNode().put("key", record.key());
                    line.put("schema", record.value().getSchema().getFullName());
                    line.put("value", record.value().toString());
                    System.out.println(JSON.writeValueAsString(line));
                }
            }
        }
    }

    /** Writes one value, given as Avro's JSON, with the schema in a file, which the serializer registers. */
    private static void write(String servers, String registry, String topic, String key, String file, String value)
        throws Exception {
        Schema schema = new Schema.Parser().parse(Files.readString(Path.of(file)));
        GenericRecord record =
            new GenericDatumReader<GenericRecord>(schema).read(null, DecoderFactory.get().jsonDecoder(schema, value));
        Map<String, Object> config = Map.of(
            "bootstrap.servers", servers,
            "key.serializer", StringSerializer.class,
            "value.serializer", AvroKafkaSerializer.class,
            "apicurio.registry.url", registry,
            "apicurio.registry.auto-register", true);
        try (var producer = new KafkaProducer<String, GenericRecord>(config)) {
            producer.send(new ProducerRecord<>(topic, key, record)).get();
        }
    }
}
