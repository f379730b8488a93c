"""The methods that every experiment knows, loss terms and their weights: the paper's and rivals."""

from __future__ import annotations

from typing import Any

_LABELS = {"scribble": 1, "pseudo_label": 1}
_LORM = {"lorm": 1}
_SCRIBBLE_DISTANCE = {"scribble_distance": {"weight": 1, "exponent": 2}}  # λ as in Table 1
_PSEUDO_LABEL_DISTANCE = {"pseudo_label_distance": {"weight": 1, "exponent": 7}}

METHODS: dict[str, dict[str, Any]] = {
    "scribble_only": {"scribble": 1},
    "pseudo_label_only": {"pseudo_label": 1},
    "scribble_and_pseudo_label": _LABELS,
    "cdsp": {**_LABELS, **_LORM, **_SCRIBBLE_DISTANCE, **_PSEUDO_LABEL_DISTANCE},
    "full_supervision": {"mask": 1},
    # The project's own, and what it is measured against:
    "pseudo_label_dice": {"pseudo_label": 1, "pseudo_label_dice": 1},
    "full_supervision_dice": {"mask": 1, "mask_dice": 1},
    # The other subsets of the terms that the paper adds to both labels (Table 2):
    "both_scribble_distance": {**_LABELS, **_SCRIBBLE_DISTANCE},
    "both_pseudo_label_distance": {**_LABELS, **_PSEUDO_LABEL_DISTANCE},
    "both_lorm": {**_LABELS, **_LORM},
    "cdsp_without_lorm": {**_LABELS, **_SCRIBBLE_DISTANCE, **_PSEUDO_LABEL_DISTANCE},
    "cdsp_without_pseudo_label_distance": {**_LABELS, **_LORM, **_SCRIBBLE_DISTANCE},
    "cdsp_without_scribble_distance": {**_LABELS, **_LORM, **_PSEUDO_LABEL_DISTANCE},
    # Rivals, each with its published weights and scales (docs/methods.md):
    "partial_dice": {"scribble": 1, "scribble_dice": 1},
    "gated_crf": {"scribble": 1, "gated_crf": 0.1},
    "dense_crf": {"scribble": 1, "dense_crf": 8.7},
    "ncl": {"scribble": 1, "normalized_cut": 0.5},
    "kcl": {"scribble": 1, "dense_crf": 8.7, "normalized_cut": 0.5},
    "soft_self_labelling": {"scribble": 1, "soft_self_labelling": 0.3},
    "tel": {"scribble": 1, "tree_energy": 0.4},
    "agmm": {
        "scribble": 1,
        "agmm_soft": 0.5,
        "agmm_gaussian": 0.5,
        "agmm_contrast": 1,
        "agmm_absent": 1,
    },
    "urss": {"scribble": 1, "certainty": 1, "walk_consistency": 30},
    "consistency": {"scribble": 1, "consistency": 1},
    "cycle": {"scribble": 1, "cycle": 0.1},
    "mean_teacher": {"scribble": 1, "mean_teacher": 1},
    "boundary": {"scribble": 1, "boundary": 0.1},
}
"""Row of `methods` → its loss terms. The section `methods` of a configuration adds rows, or
replaces one of these by another of its name."""
