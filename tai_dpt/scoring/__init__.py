"""Scores, and what is made of them: losses, metrics, fusion, calibration, results."""
