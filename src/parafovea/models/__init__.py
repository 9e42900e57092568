"""Networks, model folders and export."""
