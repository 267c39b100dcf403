"""Wheels as the layers of a virtual environment."""
