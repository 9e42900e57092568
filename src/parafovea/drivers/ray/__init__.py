"""Ray as a driver: the jobs of the stages on one machine or many, with the same bytes."""
