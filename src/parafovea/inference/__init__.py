"""Sliding-window inference: from cached features to weighted sums and predictions."""
