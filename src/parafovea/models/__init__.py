"""Networks and the folders that hold them."""
