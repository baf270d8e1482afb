"""Purchase prediction: in a session after every event, and for customers over days; each from what was known then."""
