"""Image registries: names, credentials, and moving blobs and manifests (OCI distribution 1.1)."""
