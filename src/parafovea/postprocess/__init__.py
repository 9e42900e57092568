"""Post-processing of predictions: classes and objects, or detections."""
