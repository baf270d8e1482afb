"""Quality rules as data, one YAML file per table, and the bridge to great-expectations."""
