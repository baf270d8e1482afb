"""The chain as Dagster assets, one folder per topic, in the order of the data's way."""
