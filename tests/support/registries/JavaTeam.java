import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import java.io.ByteArrayOutputStream;
import java.io.DataOutputStream;
import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse;
import java.nio.ByteBuffer;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.util.List;
import java.util.Map;
import org.apache.avro.Schema;
import org.apache.avro.generic.GenericDatumReader;
import org.apache.avro.generic.GenericDatumWriter;
import org.apache.avro.io.BinaryEncoder;
import org.apache.avro.io.DecoderFactory;
import org.apache.avro.io.EncoderFactory;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.serialization.ByteArrayDeserializer;
import org.apache.kafka.common.serialization.ByteArraySerializer;
import org.apache.kafka.common.serialization.StringDeserializer;
import org.apache.kafka.common.serialization.StringSerializer;

/** Reads and writes framed Avro with generic records, its schemas in a registry. */
public class JavaTeam {
    private static final HttpClient HTTP = HttpClient.newHttpClient();
    private static final ObjectMapper JSON = new ObjectMapper();

    public static void main(String[] arguments) throws Exception {
        if (arguments[0].equals("read")) {
            read(arguments[1], arguments[2], arguments[3]);
        } else {
            write(arguments[1], arguments[2], arguments[3], arguments[4], arguments[5], arguments[6]);
        }
    }

    /** Prints one JSON line for each record of the topic. */
    private static void read(String servers, String registry, String topic) throws Exception {
        Map<String, Object> config = Map.of("bootstrap.servers", servers, "isolation.level", "read_committed");
        try (var consumer = new KafkaConsumer<>(config, new StringDeserializer(), new ByteArrayDeserializer())) {
            List<TopicPartition> partitions =
                consumer.partitionsFor(topic).stream().map(p -> new TopicPartition(topic, p.partition())).toList();
            consumer.assign(partitions);
            consumer.seekToBeginning(partitions);
            Map<TopicPartition, Long> ends = consumer.endOffsets(partitions);
            while (partitions.stream().anyMatch(p -> consumer.position(p) < ends.get(p))) {
                for (var record : consumer.poll(Duration.ofSeconds(1))) {
                    var line = JSON.createObjectNode().put("key", record.key());
                    line.put("value", decoded(registry, record.value()));
                    for (var header : record.headers()) {
                        line.put(header.key(), new String(header.value()));
                    }
                    System.out.println(JSON.writeValueAsString(line));
                }
            }
        }
    }

    private static String decoded(String registry, byte[] value) throws Exception {
        ByteBuffer buffer = ByteBuffer.wrap(value);
        if (buffer.get() != 0) {
            throw new IllegalArgumentException("unknown magic byte");
        }
        Schema schema = schema(ask(registry + "/schemas/ids/" + buffer.getInt(), null).get("schema").asText());
        var decoder = DecoderFactory.get().binaryDecoder(value, buffer.position(), buffer.remaining(), null);
        Object read = new GenericDatumReader<>(schema).read(null, decoder);
        if (!decoder.isEnd()) {
            throw new IllegalArgumentException("bytes follow the value");
        }
        return read.toString();
    }

    /** Registers the schema in a file, and writes one value, given as Avro's JSON, with it. */
    private static void write(String servers, String registry, String topic, String key, String file, String value)
        throws Exception {
        Schema schema = schema(Files.readString(Path.of(file)));
        String registered = JSON.writeValueAsString(Map.of("schema", schema.toString(), "schemaType", "AVRO"));
        int id = ask(registry + "/subjects/" + topic + "-value/versions", registered).get("id").asInt();
        Object record = new GenericDatumReader<>(schema).read(null, DecoderFactory.get().jsonDecoder(schema, value));
        var bytes = new ByteArrayOutputStream();
        var out = new DataOutputStream(bytes);
        out.writeByte(0);
        out.writeInt(id);
        BinaryEncoder encoder = EncoderFactory.get().binaryEncoder(out, null);
        new GenericDatumWriter<>(schema).write(record, encoder);
        encoder.flush();
        Map<String, Object> config = Map.of("bootstrap.servers", servers);
        try (var producer = new KafkaProducer<>(config, new StringSerializer(), new ByteArraySerializer())) {
            producer.send(new ProducerRecord<>(topic, key, bytes.toByteArray())).get();
        }
    }

    private static Schema schema(String text) {
        return new Schema.Parser().parse(text);
    }

    private static JsonNode ask(String url, String body) throws Exception {
        var request = HttpRequest.newBuilder(URI.create(url)).header("Content-Type", "application/json");
        if (body != null) {
            request.POST(HttpRequest.BodyPublishers.ofString(body));
        }
        var answer = HTTP.send(request.build(), HttpResponse.BodyHandlers.ofString());
        if (answer.statusCode() != 200) {
            throw new IllegalStateException(url + ": " + answer.statusCode() + " " + answer.body());
        }
        return JSON.readTree(answer.body());
    }
}
