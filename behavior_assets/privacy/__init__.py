"""Bronze events become silver events without personal data."""
