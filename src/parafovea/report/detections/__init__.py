"""The page, pictures and documents of a scan's detections."""
