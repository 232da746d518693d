"""Metrics of generated images: an extractor turns images into features, sums of features into statistics."""
