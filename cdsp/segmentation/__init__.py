"""Stage `segmentation`: trains a DeepLab with a method's loss terms."""
