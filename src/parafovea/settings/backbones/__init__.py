"""Validated arguments of each backbone; without torch, so that the workflow can import them."""
