"""func.lock: the packages and models of an image, with their hashes, and how they are found again."""
