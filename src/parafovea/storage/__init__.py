"""What is on disk: arrays, names and places of results, provenance, runs, code fingerprints."""
