"""Phantom chests in computed tomography."""
