"""Chests as computed tomography shows them."""
