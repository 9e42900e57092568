"""Conversion of class probabilities to cleaned classes and labelled objects."""
