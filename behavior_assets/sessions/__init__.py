"""Silver events become sessions."""
