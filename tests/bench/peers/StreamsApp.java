import java.io.ByteArrayOutputStream;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.lang.management.ManagementFactory;
import java.nio.ByteBuffer;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.HashMap;
import java.util.Map;
import java.util.Properties;
import java.util.Set;
import org.apache.avro.Schema;
import org.apache.avro.generic.GenericData;
import org.apache.avro.generic.GenericDatumReader;
import org.apache.avro.generic.GenericDatumWriter;
import org.apache.avro.generic.GenericRecord;
import org.apache.avro.io.BinaryDecoder;
import org.apache.avro.io.BinaryEncoder;
import org.apache.avro.io.DecoderFactory;
import org.apache.avro.io.EncoderFactory;
import org.apache.kafka.common.serialization.Deserializer;
import org.apache.kafka.common.serialization.Serde;
import org.apache.kafka.common.serialization.Serdes;
import org.apache.kafka.common.serialization.Serializer;
import org.apache.kafka.streams.KafkaStreams;
import org.apache.kafka.streams.StreamsBuilder;
import org.apache.kafka.streams.StreamsConfig;
import org.apache.kafka.streams.errors.StreamsUncaughtExceptionHandler.StreamThreadExceptionResponse;
import org.apache.kafka.streams.kstream.Consumed;
import org.apache.kafka.streams.kstream.Produced;
import org.apache.kafka.streams.processor.api.FixedKeyProcessor;
import org.apache.kafka.streams.processor.api.FixedKeyProcessorContext;
import org.apache.kafka.streams.processor.api.FixedKeyProcessorSupplier;
import org.apache.kafka.streams.processor.api.FixedKeyRecord;
import org.apache.kafka.streams.state.KeyValueStore;
import org.apache.kafka.streams.state.StoreBuilder;
import org.apache.kafka.streams.state.Stores;

/**
 * Kafka Streams, exactly once: a row an order in its own RocksDB, backed by a changelog topic.
 *
 * <p>Arguments: bootstrap servers, application id, sink, state folder, events, passes, two schema files. One JVM works
 * the same backlog off several times, as application id-1, id-2 and so on into sink-1, sink-2: the first pass is cold,
 * the last one warm. Prints a line of JSON a pass. Its settings are the defaults, but for the guarantee and lz4.
 */
public class StreamsApp {
    private static final String INPUT = "order.created";
    private static final String STORE = "payment";
    private static final int SCHEMA_ID = 2;
    private static final int FRAME = 5;

    public static void main(String[] arguments) throws Exception {
        int events = Integer.parseInt(arguments[4]);
        int passes = Integer.parseInt(arguments[5]);
        Schema order = new Schema.Parser().parse(Files.readString(Path.of(arguments[6])));
        Schema charged = new Schema.Parser().parse(Files.readString(Path.of(arguments[7])));
        for (int pass = 1; pass <= passes; pass++) {
            Properties config = config(arguments[0], arguments[1] + "-" + pass, arguments[3]);
            System.out.println(new Pass(events, order, charged).run(config, arguments[2] + "-" + pass));
        }
    }

    private static Properties config(String servers, String application, String folder) {
        Properties config = new Properties();
        config.put(StreamsConfig.BOOTSTRAP_SERVERS_CONFIG, servers);
        config.put(StreamsConfig.APPLICATION_ID_CONFIG, application);
        config.put(StreamsConfig.STATE_DIR_CONFIG, folder);
        config.put(StreamsConfig.PROCESSING_GUARANTEE_CONFIG, StreamsConfig.EXACTLY_ONCE_V2);
        config.put(StreamsConfig.producerPrefix("compression.type"), "lz4");
        return config;
    }

    /** One application on the backlog, from its start to the commit of its last answer. */
    private static class Pass {
        private final int events;
        private final Schema orderSchema;
        private final Schema chargedSchema;
        private final Map<String, String> provider = new HashMap<>();
        private KafkaStreams streams;
        private int seen;
        private Mark first;
        private Mark middle;
        private double commitsBefore;
        private volatile boolean allSeen;

        Pass(int events, Schema orderSchema, Schema chargedSchema) {
            this.events = events;
            this.orderSchema = orderSchema;
            this.chargedSchema = chargedSchema;
        }

        String run(Properties config, String sink) throws InterruptedException {
            StreamsBuilder builder = new StreamsBuilder();
            builder.stream(INPUT, Consumed.with(Serdes.String(), avro(orderSchema)))
                .processValues(charging())
                .to(sink, Produced.with(Serdes.String(), avro(chargedSchema)));
            streams = new KafkaStreams(builder.build(), config);
            streams.setUncaughtExceptionHandler(error -> {
                error.printStackTrace();
                return StreamThreadExceptionResponse.SHUTDOWN_CLIENT;
            });
            streams.start();
            // Its only thread commits after the last record that it has processed: one commit more, and that is in.
            while (!allSeen || commits() <= commitsBefore) {
                if (streams.state().hasCompletedShutdown()) {
                    System.exit(1);
                }
                Thread.sleep(2);
            }
            Mark last = new Mark(seen);
            streams.close();
            streams.cleanUp();
            return String.format("{\"whole\": %s, \"half\": %s}", last.since(first), last.since(middle));
        }

        private FixedKeyProcessorSupplier<String, GenericRecord, GenericRecord> charging() {
            StoreBuilder<KeyValueStore<String, GenericRecord>> store = Stores.keyValueStoreBuilder(
                Stores.persistentKeyValueStore(STORE), Serdes.String(), avro(chargedSchema));
            return new FixedKeyProcessorSupplier<>() {
                @Override
                public FixedKeyProcessor<String, GenericRecord, GenericRecord> get() {
                    return new Charging();
                }

                @Override
                public Set<StoreBuilder<?>> stores() {
                    return Set.of(store);
                }
            };
        }

        private void count() {
            if (seen == 0) {
                first = new Mark(0);
            }
            if (seen == events / 2) {
                middle = new Mark(seen);
            }
            seen++;
            if (seen == events) {
                commitsBefore = commits();
                allSeen = true;
            }
        }

        private double commits() {
            return streams.metrics().values().stream()
                .filter(metric -> metric.metricName().name().equals("commit-total"))
                .filter(metric -> metric.metricName().group().equals("stream-thread-metrics"))
                .mapToDouble(metric -> (Double) metric.metricValue()).sum();
        }

        /** Charges an order at a provider in memory, and keeps the row. */
        private class Charging implements FixedKeyProcessor<String, GenericRecord, GenericRecord> {
            private FixedKeyProcessorContext<String, GenericRecord> context;
            private KeyValueStore<String, GenericRecord> payments;

            @Override
            public void init(FixedKeyProcessorContext<String, GenericRecord> context) {
                this.context = context;
                payments = context.getStateStore(STORE);
            }

            @Override
            public void process(FixedKeyRecord<String, GenericRecord> record) {
                count();
                GenericRecord order = record.value();
                String orderId = order.get("order_id").toString();
                String paymentId = provider.get(orderId);
                if (paymentId == null) {
                    paymentId = "p-" + provider.size();
                    provider.put(orderId, paymentId);
                }
                GenericRecord charged = new GenericData.Record(chargedSchema);
                charged.put("order_id", orderId);
                charged.put("payment_id", paymentId);
                charged.put("amount", order.get("total"));
                charged.put("currency", order.get("currency"));
                payments.putIfAbsent(orderId, charged);
                context.forward(record.withValue(charged));
            }
        }
    }

    /** A moment, the processor time of this process by then, and how many events it had seen. */
    private static class Mark {
        private final int events;
        private final long nanos = System.nanoTime();
        private final long processorNanos =
            ((com.sun.management.OperatingSystemMXBean) ManagementFactory.getOperatingSystemMXBean())
                .getProcessCpuTime();

        Mark(int events) {
            this.events = events;
        }

        String since(Mark earlier) {
            double seconds = (nanos - earlier.nanos) / 1e9;
            double processor = (processorNanos - earlier.processorNanos) / 1e9;
            return String.format(
                "{\"events\": %d, \"seconds\": %s, \"cpu_seconds\": %s}", events - earlier.events, seconds, processor);
        }
    }

    /** Generic records behind a magic byte and a schema id. */
    private static Serde<GenericRecord> avro(Schema schema) {
        return Serdes.serdeFrom(new Writing(schema), new Reading(schema));
    }

    private static class Writing implements Serializer<GenericRecord> {
        private final GenericDatumWriter<GenericRecord> writer;
        private final ByteArrayOutputStream bytes = new ByteArrayOutputStream();
        private BinaryEncoder encoder;

        Writing(Schema schema) {
            writer = new GenericDatumWriter<>(schema);
        }

        @Override
        public byte[] serialize(String topic, GenericRecord value) {
            if (value == null) {
                return null;
            }
            try {
                bytes.reset();
                bytes.writeBytes(ByteBuffer.allocate(FRAME).put((byte) 0).putInt(SCHEMA_ID).array());
                encoder = EncoderFactory.get().binaryEncoder(bytes, encoder);
                writer.write(value, encoder);
                encoder.flush();
                return bytes.toByteArray();
            } catch (IOException error) {
                throw new UncheckedIOException(error);
            }
        }
    }

    private static class Reading implements Deserializer<GenericRecord> {
        private final GenericDatumReader<GenericRecord> reader;
        private BinaryDecoder decoder;

        Reading(Schema schema) {
            reader = new GenericDatumReader<>(schema);
        }

        @Override
        public GenericRecord deserialize(String topic, byte[] value) {
            if (value == null) {
                return null;
            }
            try {
                decoder = DecoderFactory.get().binaryDecoder(value, FRAME, value.length - FRAME, decoder);
                return reader.read(null, decoder);
            } catch (IOException error) {
                throw new UncheckedIOException(error);
            }
        }
    }
}
