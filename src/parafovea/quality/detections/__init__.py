"""Scores of detections: FROC, matching, calibration."""
