"""Versions of what the commands of the stages write.

Raise a command's number when it writes something else of the same input and settings. The number
stands in what stores and trainings tell of themselves, and among the parameters of its rule, so
that the workflow makes its finished results again, with what follows from them, and nothing else.
"""

VERSIONS = {
    "dataset": 1,
    "scribbles simulate": 2,
    "scribbles import": 2,
    "scribbles validation": 1,
    "scribbles degrade": 2,
    "pseudo_labels classifier": 1,
    "pseudo_labels cams": 1,
    "pseudo_labels probabilities": 1,
    "pseudo_labels pixels": 2,
    "pseudo_labels labels": 3,
    "pseudo_labels import": 1,
    "pseudo_labels corrupt": 1,
    "pseudo_labels boxes": 1,
    "pseudo_labels measure": 2,
    "distance_maps": 1,
    "segmentation": 1,
    "evaluation": 2,
    "reporting": 1,
}
"""Command → version. `dataset` and `reporting` stand for all of their commands."""
