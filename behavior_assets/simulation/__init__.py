"""A shop with known ground truth. Pure: nothing here imports dagster, and this file imports nothing."""
