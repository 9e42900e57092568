"""Report of a scan's detections: page, figures, PDF and 3D view."""
