"""Where the files of an experiment lie: the only place that knows.

Every function takes the names that tell an artefact apart, and gives its path. In the workflow the
same functions take Snakemake's wildcards, such as "{scribbles}", and give the pattern of a rule.
"""

from __future__ import annotations

from dataclasses import dataclass

RUN_FILES = ("weights.pt", "settings.json", "environment.json", "log.jsonl")
"""What a finished training run leaves in its folder."""


@dataclass(frozen=True)
class Paths:
    """Paths of the artefacts of one data set.

    Attributes:
        stages: folder below which each stage has a folder of its name, ``results/<dataset>``.
    """

    stages: str

    @property
    def dataset(self) -> str:
        """The description of the data set."""
        return f"{self.stages}/dataset/dataset.json"

    @property
    def strokes(self) -> str:
        """All strokes, before any degradation."""
        return f"{self.stages}/scribbles/strokes.jsonl"

    @property
    def validation_strokes(self) -> str:
        """Labels of the strokes of validation images, which have no masks."""
        return f"{self.stages}/scribbles/validation.h5"

    def degraded_strokes(self, scribbles: str) -> str:
        """The strokes that a degradation leaves."""
        return f"{self.stages}/scribbles/{scribbles}/strokes.jsonl"

    def scribble_labels(self, scribbles: str) -> str:
        """The same as labels."""
        return f"{self.stages}/scribbles/{scribbles}/labels.h5"

    def image_classes(self, scribbles: str) -> str:
        """The object classes that they name, image by image."""
        return f"{self.stages}/scribbles/{scribbles}/image_classes.json"

    def classifier(self, scribbles: str, classifier: str) -> str:
        """A trained classifier; ``classifier`` is the digest of all that it depends on."""
        return f"{self.stages}/pseudo_labels/{scribbles}/classifier-{classifier}/classifier.pt"

    def average_precision(self, scribbles: str, classifier: str) -> str:
        """Its average precision on the validation images."""
        return f"{self.stages}/pseudo_labels/{scribbles}/classifier-{classifier}/classifier.json"

    def cams(self, scribbles: str, cams: str) -> str:
        """Class activation maps; ``cams`` is the digest of all that they depend on."""
        return f"{self.stages}/pseudo_labels/{scribbles}/cams-{cams}/cams.h5"

    def pixel_probabilities(self, scribbles: str, pixels: str) -> str:
        """What a pixel classifier says of the training images; ``pixels`` is its digest."""
        return f"{self.stages}/pseudo_labels/{scribbles}/pixels-{pixels}/probabilities.h5"

    def probabilities(self, scribbles: str, recipe: str) -> str:
        """What a trained network predicts of the training images, for a recipe."""
        return f"{self.stages}/pseudo_labels/{scribbles}/{recipe}/probabilities.h5"

    def pseudo_labels(self, scribbles: str, recipe: str) -> str:
        """The pseudo-labels of a recipe."""
        return f"{self.stages}/pseudo_labels/{scribbles}/{recipe}/labels.h5"

    def quality(self, scribbles: str, recipe: str) -> str:
        """Their quality, measured."""
        return f"{self.stages}/pseudo_labels/{scribbles}/{recipe}/quality.json"

    def scribble_distances(self, scribbles: str, exponent: str) -> str:
        """Distance maps of scribbles (Eq. 14); λ as `variants.value_text` writes it."""
        return f"{self.stages}/distance_maps/scribbles/{scribbles}/exponent-{exponent}.h5"

    def pseudo_label_distances(self, scribbles: str, recipe: str, exponent: str) -> str:
        """Distance maps of pseudo-labels (Eq. 16)."""
        folder = f"{self.stages}/distance_maps/pseudo_labels/{scribbles}/{recipe}"
        return f"{folder}/exponent-{exponent}.h5"

    def run(self, run: str, file: str = "weights.pt") -> str:
        """A file of a training run (`RUN_FILES`), whose folder is ``Run.folder``."""
        return f"{self.stages}/segmentation/{run}/{file}"

    def metrics(self, run: str, protocol: str, file: str = "metrics.json") -> str:
        """The scores of a run's last network, or the confusion matrix behind them."""
        return f"{self.stages}/evaluation/{run}/{protocol}/{file}"

    def best_metrics(self, run: str, protocol: str, file: str = "metrics.json") -> str:
        """The same of a run's network that is best on the validation masks."""
        return f"{self.stages}/evaluation/{run}/{protocol}/best_on_val/{file}"

    def pixel_metrics(self, scribbles: str, recipe: str, protocol: str) -> str:
        """The scores of a recipe's pixel classifier."""
        folder = f"{self.stages}/evaluation/pixel_classifier/{recipe}/{scribbles}"
        return f"{folder}/{protocol}/metrics.json"

    def table(self, table: str, ending: str) -> str:
        """A file of a table; ``ending`` is what follows its name, such as ".csv"."""
        return f"{self.stages}/{table}{ending}"

    def log(self, job: str) -> str:
        """The log of a job."""
        return f"{self.stages}/logs/{job}.log"

    def benchmark(self, job: str) -> str:
        """What a job cost, as Snakemake measures it."""
        return f"{self.stages}/benchmarks/{job}.tsv"
