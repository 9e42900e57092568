"""Landscapes as Sentinel-2 sees them."""
