"""Files: their formats, atomic writing, and the label store."""
