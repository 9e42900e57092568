"""Drivers that run stages without Snakemake, and the status of a Snakemake run."""
