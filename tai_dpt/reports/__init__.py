"""What finished runs say: found on disk, gathered over seeds, shown as tables and figures."""
