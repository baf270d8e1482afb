"""The published star: its contract, snapshots, the DuckDB file and the checks of what was published."""
