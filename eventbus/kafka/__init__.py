"""The log on Apache Kafka, through confluent_kafka."""
