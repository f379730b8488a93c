"""The experiment: the whole configuration, its runs and what they need."""
