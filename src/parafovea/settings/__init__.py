"""Pydantic models of the config and of model.json; imports neither torch nor zarr."""
