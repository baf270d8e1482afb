"""Erasing persons: from everything that a home holds of them, with proof."""
