"""What other programs ask of results over HTTP."""
