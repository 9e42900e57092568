"""What runs stages by their declarations, without Snakemake, and asks Snakemake how far it is."""
