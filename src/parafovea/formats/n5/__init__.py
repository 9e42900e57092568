"""N5 volumes: single datasets and pyramids of them."""
