"""Sales forecasts: daily demand by category and in total, with intervals that were checked on the past."""
