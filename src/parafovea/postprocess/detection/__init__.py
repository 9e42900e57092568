"""Conversion of a heatmap to candidates, detections and calibrated scores."""
