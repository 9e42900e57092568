"""Cells as an electron microscope shows them."""
