"""Layers on a base become an image: configuration, manifest, index, and the layout on disk."""
