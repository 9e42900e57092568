"""Process-level services: devices, optional packages, progress, job logs."""
