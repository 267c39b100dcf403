"""A project in a cluster: its objects, and what applies, watches, changes and removes them."""
