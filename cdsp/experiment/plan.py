"""What every artefact of an experiment depends on: the planner.

Rules of the workflow, and whoever else asks what a table needs, get settings, inputs and paths from
here. What several recipes share is named by the digest of all that it depends on, so that it is
made once, and that a recipe which nobody uses changes nothing.
"""

from __future__ import annotations

import itertools
from functools import cached_property
from pathlib import Path
from typing import Any

from cdsp.experiment.config import Config, loses_classes
from cdsp.experiment.paths import Paths
from cdsp.experiment.run import Run
from cdsp.experiment.shared import Cams, Classifier, PixelClassifier
from cdsp.experiment.variants import value_text
from cdsp.io.json_files import canonical_json
from cdsp.maps import STORED
from cdsp.scribbles.degrade import Degradation
from cdsp.segmentation.method import Method
from cdsp.settings import settings_dict


def settings_json(settings: Any) -> str:
    """A stage's settings as the text that its command reads."""
    return canonical_json(settings_dict(settings))


class Plan:
    """The artefacts of an experiment.

    Attributes:
        config: the experiment.
        paths: where the artefacts lie.
        recipes: recipes by where their labels come from: "made", "imported", "corrupted" masks or
            "boxes".
        classifiers: name of a shared classifier → the classifier.
        cams: name of shared maps → the maps.
        pixel_classifiers: name of a shared pixel classifier → the classifier.
    """

    def __init__(self, config: Config, results: str = "results") -> None:
        """``results`` is the folder of the results of all data sets."""
        self.config = config
        self.paths = Paths(f"{results}/{config.dataset}")
        kinds = ("made", "imported", "corrupted", "boxes")
        self.recipes: dict[str, list[str]] = {kind: [] for kind in kinds}
        self.classifiers: dict[str, Classifier] = {}
        self.cams: dict[str, Cams] = {}
        self.pixel_classifiers: dict[str, PixelClassifier] = {}
        for name, recipe in config.pseudo_labels.items():
            kind = {"masks": "corrupted", "boxes": "boxes"}.get(recipe.evidence, "made")
            self.recipes["imported" if recipe.folder else kind].append(name)
            if recipe.evidence == "cams" and not recipe.folder:
                for classes_from in {"degraded", recipe.classes_from}:
                    classifier = Classifier(recipe.classifier, classes_from)
                    cams = Cams(classifier, recipe.cams)
                    self.classifiers[classifier.name] = classifier
                    self.cams[cams.name] = cams
            if recipe.evidence == "pixels" and not recipe.folder:
                for classes_from in {"degraded", recipe.classes_from}:
                    pixels = PixelClassifier(recipe.pixels, classes_from)
                    self.pixel_classifiers[pixels.name] = pixels

    @property
    def dataset_command(self) -> str:
        """Command of the stage `dataset` with its output."""
        source = self.config.datasets[self.config.dataset]["source"]
        # The data set that is drawn lies beside its description.
        written = (
            self.paths.dataset.rpartition("/")[0] if source == "shapes" else self.paths.dataset
        )
        return f"{source} --output {written}"

    @property
    def strokes_command(self) -> str:
        """Command of the stage `scribbles` that makes the strokes."""
        return {"simulated": "simulate", "annotations": "import"}[self.config.scribbles["source"]]

    # scribbles

    def degradation_settings(self, scribbles: str) -> str:
        """Of a degradation, as JSON; only those that draw have settings."""
        drawn = Degradation.parse(scribbles).is_random
        return settings_json(self.config.degradation) if drawn else "{}"

    def named_classes(self, scribbles: str, classes_from: str) -> str:
        """The image-level classes of the degraded scribbles, or of the full ones."""
        full = classes_from == "full" or not loses_classes(scribbles)
        return self.paths.image_classes("full" if full else scribbles)

    # pseudo_labels

    def recipe_classes(self, recipe: str, scribbles: str) -> str:
        """The image-level classes that a recipe goes by."""
        return self.named_classes(scribbles, self.config.pseudo_labels[recipe].classes_from)

    def recipe_cams(self, recipe: str, scribbles: str) -> tuple[str, Cams]:
        """The maps of a recipe, and the scribbles below whose name they lie.

        Shrinking keeps a point of every stroke, and with it every class: what is made of the
        classes alone is made once, on the full scribbles.
        """
        settings = self.config.pseudo_labels[recipe]
        learns_from_pixels = bool(settings.classifier.stroke_weight)
        if not learns_from_pixels and (
            settings.classes_from == "full" or not loses_classes(scribbles)
        ):
            scribbles = "full"
        classes_from = self._classes_from(recipe, scribbles)
        return scribbles, Cams(Classifier(settings.classifier, classes_from), settings.cams)

    def _classes_from(self, recipe: str, scribbles: str) -> str:
        wanted = self.config.pseudo_labels[recipe].classes_from
        return wanted if loses_classes(scribbles) else "degraded"

    def classifier_scribbles(self, classifier: str, scribbles: str) -> list[str]:
        """The scribble labels, where the classifier learns from their pixels."""
        if not self.classifiers[classifier].settings.stroke_weight:
            return []
        return [self.paths.scribble_labels(scribbles)]

    def recipe_evidence(self, recipe: str, scribbles: str) -> list[str]:
        """The store of a recipe's evidence; nothing where the strokes alone are the evidence."""
        evidence = self.config.pseudo_labels[recipe].evidence
        if evidence == "cams":
            folder, cams = self.recipe_cams(recipe, scribbles)
            return [self.paths.cams(folder, cams.name)]
        if evidence == "pixels":
            settings = self.config.pseudo_labels[recipe].pixels
            pixels = PixelClassifier(settings, self._classes_from(recipe, scribbles))
            return [self.paths.pixel_probabilities(scribbles, pixels.name)]
        if evidence == "network":
            return [self.paths.probabilities(scribbles, recipe)]
        return []

    def recipes_by(self, evidence: str) -> list[str]:
        """The recipes that are made here of some evidence."""
        recipes = self.config.pseudo_labels
        return [name for name in self.recipes["made"] if recipes[name].evidence == evidence]

    def evidence_weights(self, recipe: str, scribbles: str) -> str:
        """The trained network behind a recipe."""
        return self.paths.run(self.config.evidence_run(recipe, scribbles).folder)

    def evidence_protocol(self, recipe: str) -> str:
        """The protocol by which that network predicts, as JSON."""
        network = self.config.pseudo_labels[recipe].network
        assert network is not None
        return settings_json(self.config.evaluation[network.protocol])

    # segmentation

    def run_stores(self, run: Run) -> dict[str, str]:
        """The stores that a run reads: option of the command → path."""
        method = self.config.method(run.method)
        paths = {
            "scribble": self.paths.scribble_labels(run.scribbles),
            "pseudo_label": self.paths.pseudo_labels(run.scribbles, run.pseudo_labels),
        }
        if "scribble_distance" in method.exponents:
            exponent = value_text(method.exponents["scribble_distance"])
            paths["scribble_distance"] = self.paths.scribble_distances(run.scribbles, exponent)
        if "pseudo_label_distance" in method.exponents:
            exponent = value_text(method.exponents["pseudo_label_distance"])
            paths["pseudo_label_distance"] = self.paths.pseudo_label_distances(
                run.scribbles, run.pseudo_labels, exponent
            )
        return {
            str(entry.option): paths[name] for name, entry in STORED.items() if name in method.reads
        }

    def run_terms(self, run: Run) -> str:
        """The loss terms of a run with their options, as JSON."""
        return method_json(self.config.method(run.method))

    def run_network(self, run: Run) -> str:
        """The network of a run, as JSON."""
        return settings_json(self.config.run_settings(run).network)

    def run_training(self, run: Run) -> str:
        """The settings of a run, as JSON."""
        return settings_json(self.config.run_settings(run).segmentation)

    def earlier_weights(self, run: Run) -> str | None:
        """The weights of an earlier run that a run starts from; None where there are none."""
        if self.config.start_from is None:
            return None
        path = Path(self.config.start_from).expanduser() / run.folder / "weights.pt"
        return str(path) if path.is_file() else None

    def run_extras(self, run: Run) -> dict[str, str]:
        """What most runs are without: option of the command → an earlier network, a protocol."""
        earlier, best = self.earlier_weights(run), self.config.run_settings(run).best_on_val
        extras = {} if earlier is None else {"start-from": earlier}
        return extras if best is None else extras | {"best-on-val": settings_json(best)}

    # evaluation

    def own_labels(self, run: Run) -> list[str]:
        """The store of what a run learnt from: pseudo-labels, or else scribbles; none of masks."""
        reads = self.config.method(run.method).reads
        if "pseudo_label" in reads:
            return [self.paths.pseudo_labels(run.scribbles, run.pseudo_labels)]
        return [self.paths.scribble_labels(run.scribbles)] if "scribble" in reads else []

    def truth_stores(self, scribbles: str, protocol: str) -> dict[str, str]:
        """The stores of the strokes that a protocol measures on, where it does.

        Returns:
            Option of the command → path.
        """
        truth = self.config.evaluation[protocol].truth
        if truth == "masks":
            return {}
        if truth == "validation_strokes":
            return {"validation-strokes": self.paths.validation_strokes}
        return {
            "scribbles": self.paths.scribble_labels(scribbles),
            "full-scribbles": self.paths.scribble_labels("full"),
        }

    @cached_property
    def _run_protocols(self) -> dict[Run, str]:
        protocols: dict[Run, str] = {}
        for table in self.config.tables:
            for run in self.needed_runs(table):
                protocols.setdefault(run, self.protocol(table))
        return protocols

    def run_protocol(self, run: Run) -> str:
        """The protocol of the first table that needs a run, as JSON; of none: no text."""
        return self._run_protocols.get(run, "")

    # tables

    def needed_runs(self, table: str) -> list[Run]:
        """The runs of a table, and those whose networks its pseudo-labels are made by."""
        runs = dict.fromkeys(self.config.runs(table))
        settings = self.config.tables[table]
        recipes = [(run.pseudo_labels, run.scribbles) for run in runs]
        recipes += itertools.product(settings.measured_labels, settings.scribbles)
        while recipes:
            recipe, scribbles = recipes.pop()
            if recipe == "none" or self.config.pseudo_labels[recipe].network is None:
                continue
            run = self.config.evidence_run(recipe, scribbles)
            runs[run] = None
            recipes.append((run.pseudo_labels, run.scribbles))
        return list(runs)

    def all_weights(self) -> list[str]:
        """The trained networks of all tables."""
        runs = itertools.chain(*map(self.config.runs, self.config.tables))
        return list(dict.fromkeys(self.paths.run(run.folder) for run in runs))

    def table_metrics(self, table: str) -> list[str]:
        """The scores of a table's runs and pixel classifiers, in the order of its rows."""
        settings = self.config.tables[table]
        metrics = []
        for run in self.config.runs(table):
            metrics.append(self.paths.metrics(run.folder, settings.protocol))
            if self.config.best_on_val is not None:
                metrics.append(self.paths.best_metrics(run.folder, settings.protocol))
        return metrics + [
            self.paths.pixel_metrics(scribbles, recipe, settings.protocol)
            for recipe in settings.pixel_classifiers
            for scribbles in settings.scribbles
        ]

    def table_quality(self, table: str) -> list[str]:
        """Of all pseudo-labels that the table's runs learn from or that it measures besides."""
        settings = self.config.tables[table]
        trained = [run.pseudo_labels for run in self.config.own_runs(table)]
        recipes = dict.fromkeys([*settings.measured_labels, *trained])
        recipes.pop("none", None)
        labels = dict.fromkeys(
            (scribbles, self.config.recipe(recipe, scribbles))
            for recipe in recipes
            for scribbles in settings.scribbles
        )
        included = itertools.chain(*map(self.table_quality, settings.includes))
        own = itertools.starmap(self.paths.quality, labels)
        return list(dict.fromkeys(itertools.chain(own, included)))

    def protocol(self, table: str) -> str:
        """The protocol of a table, as JSON."""
        return settings_json(self.config.evaluation[self.config.tables[table].protocol])


def method_json(method: Method) -> str:
    """Loss terms with their options, as JSON."""
    return canonical_json({name: settings_dict(term) for name, term in method.terms.items()})
