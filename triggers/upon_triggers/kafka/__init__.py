"""Kafka: records become events, outcomes become commits, retries and dead letters."""
