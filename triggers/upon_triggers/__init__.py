"""Sources: Kafka, cron and whatever turns the outside into Events and submits them to a Sink."""
