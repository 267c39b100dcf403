"""The project file and the command line; later the image, the manifests and the cluster."""
