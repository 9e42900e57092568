"""The command line: what stands beside the workflow, for checking and preparing its inputs."""
