"""The whole configuration of an experiment, `config.yaml`, checked; and the runs it asks for."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from cdsp.dataset.settings import SOURCES
from cdsp.evaluation.settings import EvaluationSettings
from cdsp.experiment.methods import METHODS
from cdsp.experiment.run import Run, RunSettings
from cdsp.experiment.table_checks import check_table
from cdsp.experiment.variants import change_text, method_changes, method_row
from cdsp.io.files import check_folder_name
from cdsp.losses import LOSS_TERMS
from cdsp.networks.settings import NetworkSettings
from cdsp.pseudo_labels.settings import PseudoLabelSettings
from cdsp.reporting.settings import TableSettings
from cdsp.scribbles.degrade import Degradation
from cdsp.scribbles.settings import STROKE_SOURCES, DegradationSettings
from cdsp.segmentation.method import Method, parse_method
from cdsp.segmentation.settings import SegmentationSettings
from cdsp.settings import check_known, parse_setting, parse_settings, setting

SECTIONS: dict[str, type] = {"segmentation": SegmentationSettings, "networks": NetworkSettings}
"""What an option of `vary` may name in place of a loss term → its settings."""


@dataclass(frozen=True, kw_only=True)
class Config:
    """The whole of `config.yaml`, checked."""

    dataset: str = setting(..., "a name of `datasets`")
    datasets: dict[str, Any] = setting(..., "data sets: what each is drawn or read from")
    scribbles: Any = setting({"source": "simulated"}, "strokes: where they come from")
    degradation: DegradationSettings = setting(DegradationSettings(), "of drop-<ratio>")
    pseudo_labels: dict[str, PseudoLabelSettings] = setting({}, "recipes of pseudo-labels")
    methods: dict[str, Any] = setting(
        {}, "methods beside the paper's, which are known: loss terms and their weights"
    )
    networks: dict[str, NetworkSettings] = setting(..., "networks: heads and backbones")
    segmentation: SegmentationSettings = setting(SegmentationSettings(), "training of stage two")
    start_from: str | None = setting(
        None,
        "folder of earlier runs, a copy of results/<dataset>/segmentation: each run that has "
        "weights in it starts from them (a warm start; then fewer epochs do)",
        is_path=True,
    )
    best_on_val: str | None = setting(
        None,
        "protocol by which each epoch of a training is measured on the validation masks, to keep "
        "the network of the best one as well: tables have a row of each, and the better one is "
        "chosen by what it is measured on. None: the last network alone",
    )
    evaluation: dict[str, EvaluationSettings] = setting(..., "protocols")
    tables: dict[str, TableSettings] = setting(..., "tables")
    panel_images: int = setting(6, "training images that the panel figure shows", minimum=1)

    def __post_init__(self) -> None:
        """Add the paper's methods, and check what one section says of another.

        Raises:
            ValueError: a name that another section does not define, or that is no folder name; a
                table with an empty list.
        """
        object.__setattr__(self, "methods", {**METHODS, **self.methods})
        for section in ("datasets", "pseudo_labels", "methods", "networks", "evaluation", "tables"):
            for name in getattr(self, section):
                check_folder_name(name, section)
        if "none" in self.pseudo_labels:
            raise ValueError("pseudo_labels: 'none' means no pseudo-labels; choose another name")
        check_known(self.dataset, self.datasets, "dataset")
        for name in self.datasets:
            self.dataset_settings(name)
        _ = self.stroke_settings
        for name in self.methods:
            parse_method(self.methods[name], f"methods.{name}")
        for name in self.pseudo_labels:
            self._check_evidence(name)
        if self.best_on_val is not None:
            check_known(self.best_on_val, self.evaluation, "best_on_val")
            if self.evaluation[self.best_on_val].truth != "masks":
                raise ValueError(
                    f"best_on_val: the protocol {self.best_on_val!r} measures on strokes; "
                    "name one that measures on masks"
                )
        for name in self.tables:
            check_table(self, name)

    def varied_sections(self, table: str) -> set[str]:
        """Whose options a table may vary: the loss terms of its methods, and `SECTIONS`."""
        rows = self.tables[table].methods
        return SECTIONS.keys() | {term for row in rows for term in self.methods[row]}

    def varied(self, table: str, option: str) -> list[Any]:
        """The values of an option that a table varies, each of the option's own type.

        Raises:
            ValueError: no list of values, or a wrong one.
        """
        values, where = self.tables[table].vary[option], f"tables.{table}.vary"
        section, _, key = option.partition(".")
        if not isinstance(values, list) or not values:
            raise ValueError(f"{where}.{option}: expected a list of values, found {values!r}")
        kind = SECTIONS[section] if section in SECTIONS else LOSS_TERMS[section].Options
        return [parse_setting(kind, key, value, f"{where}.{section}") for value in values]

    def _check_evidence(self, recipe: str) -> None:
        """Follow the networks behind a recipe back to strokes, CAMs or a folder."""
        chain = [recipe]
        while (evidence := self.pseudo_labels[chain[-1]].network) is not None:
            where = f"pseudo_labels.{chain[-1]}.network"
            check_known(evidence.method, self.methods, f"{where}.method")
            check_known(evidence.protocol, self.evaluation, f"{where}.protocol")
            check_known(evidence.network, self.networks, f"{where}.network")
            if "pseudo_label" not in self.method(evidence.method).reads:
                return
            check_known(evidence.pseudo_labels, self.pseudo_labels, f"{where}.pseudo_labels")
            chain.append(evidence.pseudo_labels)
            if chain.count(chain[-1]) > 1:
                raise ValueError(f"{where}: the recipes go in a circle: {' → '.join(chain)}")

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
        """A row of `methods`, or a variant of one.

        Raises:
            ValueError: a term or option that there is not, or a wrong value for it.
        """
        terms = dict(self.methods[method_row(name)])
        for option, value in method_changes(name).items():
            term, _, key = option.partition(".")
            if term in SECTIONS:
                continue
            options = terms[term] if isinstance(terms[term], Mapping) else {"weight": terms[term]}
            terms[term] = {**options, key: value}
        return parse_method(terms, f"methods.{name}")

    def run_settings(self, run: Run) -> RunSettings:
        """What a run is trained with.

        Raises:
            ValueError: a variant of its method that the training does not know or allow.
        """
        changes: dict[str, dict[str, Any]] = {section: {} for section in SECTIONS}
        for option, value in method_changes(run.method).items():
            section, _, key = option.partition(".")
            if section in SECTIONS:
                changes[section][key] = parse_setting(SECTIONS[section], key, value, section)
        return RunSettings(
            method=self.method(run.method),
            network=replace(self.networks[run.network], **changes["networks"]),
            segmentation=replace(self.segmentation, **changes["segmentation"]),
            best_on_val=None if self.best_on_val is None else self.evaluation[self.best_on_val],
        )

    def variants(self, table: str) -> list[str]:
        """The methods of a table, with each combination of the options that it varies.

        What changes nothing is the row itself, so that its runs are shared with other tables.

        Raises:
            ValueError: an option of a term that no method of the table has, or a wrong value.
        """
        settings = self.tables[table]
        names = {}
        for row in settings.methods:
            terms = self.method(row).terms
            unchanged: dict[str, Any] = {**terms, "segmentation": self.segmentation}
            varied = [
                [(option, value) for value in self.varied(table, option)]
                for option in sorted(settings.vary)
                if option.partition(".")[0] in {*terms, *SECTIONS}
            ]
            for changes in itertools.product(*varied):
                name = row
                for option, value in changes:
                    section, _, key = option.partition(".")
                    if getattr(unchanged.get(section), key, None) != value:
                        name += change_text(option, value)
                self.method(name)
                names[name] = None
        return list(names)

    def runs(self, table: str) -> list[Run]:
        """The runs of a table without repetition: its own, and those of the tables it includes."""
        tables = (table, *self.tables[table].includes)
        return list(dict.fromkeys(itertools.chain(*map(self.own_runs, tables))))

    def own_runs(self, table: str) -> list[Run]:
        """The runs of a table's own lists, in their order and without repetition."""
        settings = self.tables[table]
        combinations = itertools.product(
            self.variants(table),
            settings.networks,
            settings.scribbles,
            settings.pseudo_labels,
            settings.seeds,
        )
        return list(dict.fromkeys(itertools.starmap(self._run, combinations)))

    def evidence_run(self, recipe: str, scribbles: str) -> Run:
        """The run whose network is the evidence of a recipe, on these scribbles."""
        evidence = self.pseudo_labels[recipe].network
        assert evidence is not None
        return self._run(
            evidence.method, evidence.network, scribbles, evidence.pseudo_labels, evidence.seed
        )

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
        `classes_from` alone differ only where strokes are dropped. Only recipes of tables stand
        for others, so that one that no table uses changes nothing.
        """
        recipe = self.pseudo_labels[name]
        if recipe.classes_from == "degraded" or loses_classes(scribbles):
            return name
        twin = replace(recipe, classes_from="degraded")
        used = itertools.chain(*(table.recipes for table in self.tables.values()))
        return next((other for other in used if self.pseudo_labels[other] == twin), name)


def loses_classes(scribbles: str) -> bool:
    """Whether a degradation can take a class from an image; shrinking keeps a point of each."""
    return Degradation.parse(scribbles).kind == "drop"


def _parse_source(value: Any, sources: dict[str, type], where: str) -> Any:
    if not isinstance(value, Mapping) or "source" not in value:
        raise ValueError(f"{where}: the key 'source' is missing ({' or '.join(sources)})")
    check_known(value["source"], sources, f"{where}.source")
    settings = {key: item for key, item in value.items() if key != "source"}
    return parse_settings(sources[value["source"]], settings, where)
