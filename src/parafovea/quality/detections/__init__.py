"""Metrics of detections: matching, FROC, calibration."""
