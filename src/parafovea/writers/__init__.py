"""Writers: results in the formats and the space of the scan that they belong to."""
