"""What a config or a model.json may say, as pydantic models; no torch and no zarr here."""
