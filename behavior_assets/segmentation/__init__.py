"""Customers: recency, frequency and value, what they will buy, and the groups that they fall into."""
