"""What is drawn: overlays on photographs, and the style of figures."""
