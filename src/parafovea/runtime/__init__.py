"""What a process needs around its work: devices, optional packages, progress, job logs."""
