"""Stage `evaluation`: predictions of a trained network, their confusion matrix and scores."""
