"""Files, text, locks, the console: what knows nothing of the method."""
