"""Stage `distance_maps`: uint8 maps of the distance to strokes and to boundaries."""
