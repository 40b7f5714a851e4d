"""The log on Apache Kafka: the only package, with the command lines' diagnosis, that knows confluent_kafka."""
