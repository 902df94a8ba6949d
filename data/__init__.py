"""The small world that ships with the project."""
