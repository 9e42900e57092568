"""Before the network: normalization, the check of Hounsfield units, body and lungs in a CT."""
