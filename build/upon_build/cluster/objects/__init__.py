"""What a deployment consists of: pure functions from a project to Kubernetes objects."""
