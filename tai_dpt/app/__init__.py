"""A tagger's page in the browser, served on this computer: Python's own HTTP server, no network."""
