"""What a reader sees: figures and self-contained pages for one sample and for all of them."""
