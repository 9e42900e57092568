"""Phantom landscapes in Sentinel-2 imagery."""
