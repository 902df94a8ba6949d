"""Tags in files: lines, whole files, sidecars, and how an interrupted file goes on."""
