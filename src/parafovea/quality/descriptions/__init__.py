"""Readable name, unit, range and explanation of every metric; torch-free.

Pages, captions, tables and `docs/metrics.md` take their words from here, and only from here.
"""
