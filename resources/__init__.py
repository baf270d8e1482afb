"""What the assets stand on: settings, keys, the lake, the engine. Nothing here imports dagster's graph."""
