"""Quality rules as data, one YAML file per table, and the bridge that runs them with great-expectations."""
