"""HDF5: datasets, the chunks, files and parts that they consist of."""
