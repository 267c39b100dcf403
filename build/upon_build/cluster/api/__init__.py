"""The Kubernetes API as plain objects, with errors for people."""
