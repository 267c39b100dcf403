"""Images that buildah, podman or docker make of a Containerfile."""
