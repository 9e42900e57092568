"""Scores of tiles: image metrics, tables, blocks of a mosaic."""
