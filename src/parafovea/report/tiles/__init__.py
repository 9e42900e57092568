"""Report of folders of tiles and of mosaics."""
