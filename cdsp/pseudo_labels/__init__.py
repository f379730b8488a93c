"""Stage `pseudo_labels`: image-level classes → classifier → class activation maps → labels."""
