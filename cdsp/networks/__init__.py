"""Networks: backbones, segmentation networks and the classifier, and the file that keeps them.

They know nothing of data, configuration or logging.
"""
