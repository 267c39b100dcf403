"""A project as a container image: layers, configuration, manifest, and the cache of what was made before."""
