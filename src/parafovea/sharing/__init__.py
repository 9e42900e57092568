"""What leaves the results folder for others: run crates, STAC catalogs, BIDS derivatives."""
