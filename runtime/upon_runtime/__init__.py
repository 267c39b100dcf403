"""What runs a function: dispatch, CloudEvents over HTTP, inference, health, metrics."""
