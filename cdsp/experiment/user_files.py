"""The files that an experiment takes from its user: whether they are there, and what is in them.

Snakemake asks for a file only when it makes something of it, and goes by its time: a finished
result would pass for that of another file, and a touched file would train everything again. So
the workflow refuses a missing file before it plans, and knows the others by their contents' digest.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from cdsp.annotations.read import SUFFIXES
from cdsp.dataset.prepare import IMAGE_SUFFIXES
from cdsp.dataset.voc_layout import read_list
from cdsp.experiment.config import Config
from cdsp.experiment.plan import Plan
from cdsp.experiment.run import Run
from cdsp.io.content import ContentDigests
from cdsp.io.files import normal_name
from cdsp.pseudo_labels.settings import PixelSettings

NO_FILE = ("imagenet", "none")
"""Backbone weights that are no file."""


class UserFiles:
    """The user's files of an experiment."""

    def __init__(self, plan: Plan) -> None:
        """Check that the files which the experiment names are there.

        Raises:
            ValueError: one is not there, naming the key.
        """
        self._plan, self._config = plan, plan.config
        self._digests = ContentDigests(Path(plan.paths.stages) / ".contents.json")
        for where, path in named_files(plan.config):
            if not path.exists():
                raise ValueError(
                    f"{where}: {path}: no such file or folder, looked for in {Path.cwd()}; correct "
                    "the path, or put it there"
                )

    def dataset(self) -> str | None:
        """The content of a user's own data set; None for one that is drawn or fetched."""
        folder = own_folder(self._config)
        if folder is None:
            return None
        return self._content(
            [
                *_files(folder / "JPEGImages", IMAGE_SUFFIXES),
                *_files(folder / "SegmentationClassAug", (".png",)),
                *_files(folder / "ImageSets/SegmentationAug", (".txt",)),
            ]
        )

    def annotations(self) -> str | None:
        """The content of a user's annotations; None for strokes that are simulated."""
        if self._config.scribbles["source"] == "simulated":
            return None
        path, folder = self._config.stroke_settings.path, own_folder(self._config)
        if path is not None:
            return self._content(_files(Path(path).expanduser(), SUFFIXES))
        return None if folder is None else self._content(_files(folder / "Scribbles", SUFFIXES))

    def run_backbone(self, run: Run) -> str | None:
        """The content of the weights that a run starts from."""
        return self._weights(self._config.run_settings(run).network.backbone_weights)

    def earlier_weights(self, run: Run) -> str | None:
        """The content of the earlier network that a run starts from."""
        path = self._plan.earlier_weights(run)
        return None if path is None else self._content([Path(path)])

    def classifier_backbone(self, classifier: str) -> str | None:
        """The content of the weights that a shared classifier starts from."""
        return self._weights(self._plan.classifiers[classifier].settings.backbone_weights)

    def pixel_backbone(self, settings: PixelSettings) -> str | None:
        """The content of the weights that describe places to a pixel classifier."""
        return self._weights(settings.backbone_weights) if settings.backbone else None

    def imported_labels(self, recipe: str) -> str:
        """The content of pseudo-labels made elsewhere."""
        folder = self._config.pseudo_labels[recipe].folder
        assert folder is not None
        return self._content(_files(Path(folder).expanduser(), (".png",)))

    def require_validation_images(self, table: str) -> None:
        """Stop before hours of training where a user's own folder has nothing to evaluate on.

        Raises:
            ValueError: it has no list of validation images, and the table measures on them.
        """
        folder, protocol = own_folder(self._config), self._config.tables[table].protocol
        truth = self._config.evaluation[protocol].truth
        if folder is None or truth == "held_out_strokes":
            return
        path = folder / "ImageSets/SegmentationAug/val.txt"
        if not path.is_file():
            wanted = "masks" if truth == "masks" else "strokes"
            raise ValueError(
                f"{path}: not there, so that there are no validation images for a table; list some "
                f"that have {wanted}, or measure on strokes that are held out of the training: "
                f"'truth: held_out_strokes' in evaluation.{protocol}, and "
                f"'scribbles: [hold_out-0.25]' in tables.{table}"
            )
        if truth != "masks":
            return
        masks = {normal_name(file.stem) for file in (folder / "SegmentationClassAug").glob("*")}
        if not masks & set(read_list(path)[0]):
            raise ValueError(
                f"{path}: no image of it has a mask in SegmentationClassAug, and the protocol "
                f"{protocol!r} measures on masks; where they have strokes, write 'truth: "
                f"validation_strokes' in evaluation.{protocol}"
            )

    def _weights(self, source: str) -> str | None:
        return None if source in NO_FILE else self._content([Path(source).expanduser()])

    def _content(self, paths: list[Path]) -> str:
        content = self._digests.of_files(paths)
        self._digests.save()
        return content


def own_folder(config: Config) -> Path | None:
    """The folder of a data set of one's own; None where the data set is drawn or fetched."""
    if config.datasets[config.dataset]["source"] != "folder":
        return None
    return Path(config.dataset_settings(config.dataset).path).expanduser()


def named_files(config: Config) -> Iterator[tuple[str, Path]]:
    """Key → path of every file or folder that the data set, strokes, labels or runs are made of."""

    def named() -> Iterator[tuple[str, str | None]]:
        source = config.datasets[config.dataset]["source"]
        dataset = config.dataset_settings(config.dataset)
        if source in ("folder", "scribbles4all"):
            yield f"datasets.{config.dataset}.path", dataset.path
        if source == "scribblesup":
            yield f"datasets.{config.dataset}.archives", dataset.archives
        if config.scribbles["source"] == "annotations":
            yield "scribbles.path", config.stroke_settings.path
        yield "start_from", config.start_from
        for name in sorted({n for table in config.tables.values() for n in table.networks}):
            yield f"networks.{name}.backbone_weights", config.networks[name].backbone_weights
        for recipe in sorted({r for table in config.tables.values() for r in table.recipes}):
            settings = config.pseudo_labels[recipe]
            yield f"pseudo_labels.{recipe}.folder", settings.folder
            if settings.evidence == "cams" and settings.folder is None:
                where = f"pseudo_labels.{recipe}.classifier.backbone_weights"
                yield where, settings.classifier.backbone_weights
            if settings.evidence == "pixels" and settings.pixels.backbone:
                where = f"pseudo_labels.{recipe}.pixels.backbone_weights"
                yield where, settings.pixels.backbone_weights

    for where, path in named():
        if path is not None and path not in NO_FILE:
            yield where, Path(path).expanduser()


def _files(path: Path, suffixes: tuple[str, ...]) -> list[Path]:
    """A file, or the files of a folder with these endings; hidden ones are a system's own."""
    if path.is_file():
        return [path]
    if not path.is_dir():
        return []
    return [
        file
        for file in path.iterdir()
        if file.suffix.lower() in suffixes and not file.name.startswith(".")
    ]
