"""From a heatmap to candidates, detections and calibrated scores."""
