"""The page and pictures of tiles."""
