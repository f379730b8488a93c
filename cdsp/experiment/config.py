"""The whole configuration of an experiment, `config.yaml`, checked; and the runs it asks for."""

from __future__ import annotations

import itertools
import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from cdsp.dataset.settings import SOURCES
from cdsp.evaluation.settings import EvaluationSettings
from cdsp.io.files import check_image_id
from cdsp.losses import LOSS_TERMS
from cdsp.pseudo_labels.settings import PseudoLabelSettings
from cdsp.reporting.settings import REPORTED_TABLES, TableSettings
from cdsp.scribbles.degrade import Degradation
from cdsp.scribbles.settings import STROKE_SOURCES, DegradationSettings
from cdsp.segmentation.method import VARIANT, Method, parse_method
from cdsp.segmentation.settings import SegmentationSettings
from cdsp.settings import nearest, parse_settings, read_yaml, setting


@dataclass(frozen=True)
class Run:
    """One training run: what tells it apart from every other, and the folder named after it.

    Attributes:
        method: name of a row of `methods`, or of a variant of one.
        network: "<segmentor>-<backbone>".
        scribbles: "full", "shrink-<ratio>" or "drop-<ratio>"; "none" if it reads none.
        pseudo_labels: recipe, or "none" if it reads none.
        seed: of weights, order and augmentation.
    """

    method: str
    network: str
    scribbles: str
    pseudo_labels: str
    seed: int

    @property
    def folder(self) -> str:
        """The run's folder below ``results/<dataset>/segmentation``."""
        return (
            f"{self.method}/{self.network}/{self.scribbles}/{self.pseudo_labels}/seed-{self.seed}"
        )


@dataclass(frozen=True, kw_only=True)
class Config:
    """The whole of `config.yaml`, checked."""

    dataset: str = setting(..., "a name of `datasets`")
    datasets: dict[str, Any] = setting(..., "data sets: what each is drawn or read from")
    scribbles: Any = setting({"source": "simulated"}, "strokes: where they come from")
    degradation: DegradationSettings = setting(DegradationSettings(), "of drop-<ratio>")
    pseudo_labels: dict[str, PseudoLabelSettings] = setting({}, "recipes of pseudo-labels")
    methods: dict[str, Any] = setting(..., "methods: loss terms and their weights")
    segmentation: SegmentationSettings = setting(SegmentationSettings(), "stage two")
    evaluation: dict[str, EvaluationSettings] = setting(..., "protocols")
    tables: dict[str, TableSettings] = setting(..., "tables")
    panel_images: int = setting(6, "training images that the panel figure shows", minimum=1)

    def __post_init__(self) -> None:
        """Check what one section says of another.

        Raises:
            ValueError: a name that another section does not define, or that is no folder name; a
                table with an empty list.
        """
        for section in ("datasets", "pseudo_labels", "methods", "evaluation", "tables"):
            for name in getattr(self, section):
                check_image_id(name, section)
                if set(" +,()") & set(name):
                    raise ValueError(
                        f"{section}: {name!r} names folders and stands in commands; write it "
                        "without spaces, commas and brackets"
                    )
        if "none" in self.pseudo_labels:
            raise ValueError("pseudo_labels: 'none' means no pseudo-labels; choose another name")
        _known(self.dataset, self.datasets, "dataset")
        for name in self.datasets:
            self.dataset_settings(name)
        _ = self.stroke_settings
        for name in self.methods:
            self.method(name)
        for name in self.pseudo_labels:
            self._check_evidence(name)
        for name, table in self.tables.items():
            where = f"tables.{name}"
            of_labels = f"{name}_labels"
            if of_labels in self.tables:
                raise ValueError(
                    f"{where}: {of_labels}.csv is where it tells of its pseudo-labels; choose "
                    f"another name for the table {of_labels!r}"
                )
            for kind in ("methods", "networks", "scribbles", "pseudo_labels", "seeds"):
                if not getattr(table, kind):
                    raise ValueError(f"{where}.{kind}: the list is empty; name at least one")
                _unique(getattr(table, kind), f"{where}.{kind}")
            for kind in ("methods", "pseudo_labels"):
                for item in getattr(table, kind):
                    _known(item, getattr(self, kind), f"{where}.{kind}")
            for item in table.measured_labels:
                _known(item, self.pseudo_labels, f"{where}.measured_labels")
            _known(table.protocol, self.evaluation, f"{where}.protocol")
            self._check_vary(name)
            if table.reported is not None:
                _known(table.reported, dict.fromkeys(REPORTED_TABLES), f"{where}.reported")
                if self.datasets[self.dataset]["source"] != "scribblesup":
                    raise ValueError(
                        f"{where}.reported: the reported numbers are of ScribbleSup, the data set "
                        f"is {self.dataset!r}; leave the key out"
                    )
            for item in table.scribbles:
                if Degradation.parse(item).name != item:
                    raise ValueError(
                        f"{where}.scribbles: write {Degradation.parse(item).name!r}, not {item!r}"
                    )
            for item in table.networks:
                self.segmentation_settings(item)

    def _check_vary(self, table: str) -> None:
        settings, where = self.tables[table], f"tables.{table}.vary"
        terms = {term for row in settings.methods for term in self.method(row).terms}
        for option in settings.vary:
            term = option.partition(".")[0]
            if term not in terms:
                raise ValueError(
                    f"{where}: {option!r}: no method of the table has the loss term {term!r}"
                    f"{nearest(term, terms)}"
                )
            _unique(tuple(self._varied(table, option)), f"{where}.{option}")
        try:
            self.variants(table)
        except ValueError as error:
            raise ValueError(f"{where}: {error}") from error

    def _varied(self, table: str, option: str) -> list[Any]:
        """The values of an option that a table varies, each of the option's own type."""
        values, where = self.tables[table].vary[option], f"tables.{table}.vary"
        term, _, key = option.partition(".")
        if not isinstance(values, list) or not values:
            raise ValueError(f"{where}.{option}: expected a list of values, found {values!r}")
        kind = LOSS_TERMS[term].Options
        where = f"{where}.{term}"
        return [getattr(parse_settings(kind, {key: value}, where), key) for value in values]

    def _check_evidence(self, recipe: str) -> None:
        """Follow the networks behind a recipe back to strokes, CAMs or a folder."""
        chain = [recipe]
        while (evidence := self.pseudo_labels[chain[-1]].network) is not None:
            where = f"pseudo_labels.{chain[-1]}.network"
            _known(evidence.method, self.methods, f"{where}.method")
            _known(evidence.protocol, self.evaluation, f"{where}.protocol")
            self.segmentation_settings(evidence.network)
            if "pseudo_label" not in self.method(evidence.method).reads:
                return
            _known(evidence.pseudo_labels, self.pseudo_labels, f"{where}.pseudo_labels")
            chain.append(evidence.pseudo_labels)
            if chain.count(chain[-1]) > 1:
                raise ValueError(f"{where}: the recipes go in a circle: {' → '.join(chain)}")

    def evidence_run(self, recipe: str, scribbles: str) -> Run:
        """The run whose network is the evidence of a recipe, on these scribbles."""
        evidence = self.pseudo_labels[recipe].network
        assert evidence is not None
        return self._run(
            evidence.method, evidence.network, scribbles, evidence.pseudo_labels, evidence.seed
        )

    def dataset_settings(self, name: str) -> Any:
        """The settings of a data set; its key `source` tells of which kind.

        Raises:
            ValueError: no `source`, an unknown one, or wrong settings for it.
        """
        return _parse_source(self.datasets[name], SOURCES, f"datasets.{name}")

    @property
    def stroke_settings(self) -> Any:
        """The settings of the strokes; the key `source` tells of which kind.

        Raises:
            ValueError: no `source`, an unknown one, or wrong settings for it.
        """
        return _parse_source(self.scribbles, STROKE_SOURCES, "scribbles")

    def method(self, name: str) -> Method:
        """A row of `methods`, or a variant of one, see `variants`.

        Raises:
            ValueError: a term or option that there is not, or a wrong value for it.
        """
        row, *changes = name.split(VARIANT)
        terms = self.methods[row]
        for change in changes:
            option, _, value = change.partition("=")
            term, _, key = option.partition(".")
            options = terms[term] if isinstance(terms[term], Mapping) else {"weight": terms[term]}
            terms = {**terms, term: {**options, key: _value(value)}}
        return parse_method(terms, f"methods.{name}")

    def variants(self, table: str) -> list[str]:
        """The methods of a table, with each combination of the options that it varies.

        A variant is named by what it changes, such as "cdsp@lorm.mask=literal@lorm.weight=0.1";
        what changes nothing is the row itself, so that its runs are shared with other tables.

        Raises:
            ValueError: an option of a term that no method of the table has, or a wrong value.
        """
        settings = self.tables[table]
        names = {}
        for row in settings.methods:
            terms = self.method(row).terms
            varied = [
                [(option, value) for value in self._varied(table, option)]
                for option in sorted(settings.vary)
                if option.partition(".")[0] in terms
            ]
            for changes in itertools.product(*varied):
                name = row
                for option, value in changes:
                    term, _, key = option.partition(".")
                    if getattr(terms[term], key) != value:
                        name += f"{VARIANT}{option}={_text(value)}"
                self.method(name)
                names[name] = None
        return list(names)

    def segmentation_settings(self, network: str) -> SegmentationSettings:
        """Stage two's settings with the head and backbone of "<segmentor>-<backbone>".

        Raises:
            ValueError: an unknown head or backbone.
        """
        segmentor, _, backbone = network.partition("-")
        names = {"segmentor": segmentor, "backbone": backbone}
        parsed = parse_settings(SegmentationSettings, names, f"network {network!r}")
        return replace(self.segmentation, segmentor=parsed.segmentor, backbone=parsed.backbone)

    def runs(self, table: str) -> list[Run]:
        """The runs of a table, in its order and without repetition."""
        settings = self.tables[table]
        runs = {}
        for method, network, scribbles, pseudo_labels, seed in itertools.product(
            self.variants(table),
            settings.networks,
            settings.scribbles,
            settings.pseudo_labels,
            settings.seeds,
        ):
            runs[self._run(method, network, scribbles, pseudo_labels, seed)] = None
        return list(runs)

    def _run(self, method: str, network: str, scribbles: str, pseudo_labels: str, seed: int) -> Run:
        """A run, without the scribbles and pseudo-labels that its method does not read."""
        reads = self.method(method).reads
        return Run(
            method=method,
            network=network,
            # Pseudo-labels are made from scribbles, so that their runs depend on them as well.
            scribbles=scribbles if reads & {"scribble", "pseudo_label"} else "none",
            pseudo_labels=(
                self.recipe(pseudo_labels, scribbles) if "pseudo_label" in reads else "none"
            ),
            seed=seed,
        )

    def recipe(self, name: str, scribbles: str) -> str:
        """The recipe that stands for another on these scribbles: what is equal is made once.

        Shrinking keeps a point of every stroke, and with it every class: recipes that differ in
        `classes_from` alone differ only where strokes are dropped.
        """
        recipe = self.pseudo_labels[name]
        if recipe.classes_from == "degraded" or Degradation.parse(scribbles).kind == "drop":
            return name
        twin = replace(recipe, classes_from="degraded")
        return next((other for other, same in self.pseudo_labels.items() if same == twin), name)


def _parse_source(value: Any, sources: dict[str, type], where: str) -> Any:
    if not isinstance(value, Mapping) or "source" not in value:
        raise ValueError(f"{where}: the key 'source' is missing ({' or '.join(sources)})")
    _known(value["source"], sources, f"{where}.source")
    settings = {key: item for key, item in value.items() if key != "source"}
    return parse_settings(sources[value["source"]], settings, where)


def _text(value: Any) -> str:
    """A value of an option as it stands in the name of a variant; `_value` reads it."""
    if isinstance(value, float):
        return repr(value).removesuffix(".0")
    return value if isinstance(value, str) else json.dumps(value)


def _value(text: str) -> Any:
    try:
        return json.loads(text)
    except json.JSONDecodeError:
        return text


def _known(name: str, known: Mapping[str, Any], where: str) -> None:
    if name not in known:
        raise ValueError(f"{where}: unknown name {name!r}{nearest(name, known)}")


def _unique(names: tuple[Any, ...], where: str) -> None:
    repeated = sorted({name for name in names if names.count(name) > 1})
    if repeated:
        raise ValueError(f"{where}: {repeated[0]!r} is named twice")


def parse_config(value: Any, where: str = "config") -> Config:
    """Check a configuration read from YAML.

    Raises:
        ValueError: naming the key, what is wrong with it and what was expected.
    """
    return parse_settings(Config, value, where)


def read_config(*paths: Path) -> Config:
    """Read and check a configuration.

    Args:
        paths: of files that are merged in their order, the way Snakemake merges its
            ``--configfile``: mappings merge key by key, all else of a later file replaces.

    Raises:
        ValueError: see `parse_config`; also for a missing file or broken YAML.
    """
    merged: Any = {}
    for path in paths:
        value = read_yaml(str(path))
        if not isinstance(value, Mapping | None):
            raise ValueError(f"{path}: expected settings (key: value), found {value!r}")
        merged = _merge(merged, value or {})
    return parse_config(merged, " + ".join(map(str, paths)))


def _merge(base: Any, changes: Mapping[str, Any]) -> Any:
    if not changes:
        return base
    merged = dict(base) if isinstance(base, Mapping) else {}
    for key, value in changes.items():
        is_mapping = isinstance(value, Mapping)
        merged[key] = _merge(merged.get(key, {}), value) if is_mapping else value
    return merged
