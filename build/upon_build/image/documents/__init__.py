"""What stands beside an image: bill of materials, provenance, signatures."""
