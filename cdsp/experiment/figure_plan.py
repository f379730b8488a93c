"""What the figures of a table are drawn from, and what the report says of the table."""

from __future__ import annotations

from cdsp.experiment.plan import Plan
from cdsp.experiment.run import Run
from cdsp.experiment.variants import value_text
from cdsp.maps import STORED
from cdsp.settings import settings_dict


class FigurePlan:
    """The runs and stores that the figures of an experiment's tables show."""

    def __init__(self, plan: Plan) -> None:
        self._plan, self._config, self._paths = plan, plan.config, plan.paths

    def _first_runs(self, table: str) -> list[Run]:
        """The runs that one figure can show together: first network, scribbles and recipe."""
        settings = self._config.tables[table]
        return [
            run
            for run in self._config.runs(table)
            if run.network == settings.networks[0]
            and run.scribbles in (settings.scribbles[0], "none")
            and run.pseudo_labels in (settings.pseudo_labels[0], "none")
        ]

    def first_metrics(self, table: str) -> list[str]:
        """The scores of a table's first network, scribbles and recipe: every method and seed."""
        protocol = self._config.tables[table].protocol
        return [self._paths.metrics(run.folder, protocol) for run in self._first_runs(table)]

    def _panel_runs(self, table: str) -> list[Run]:
        seed = self._config.tables[table].seeds[0]
        return [run for run in self._first_runs(table) if run.seed == seed]

    def panel_weights(self, table: str) -> list[str]:
        """The networks that the panel shows: of each method, that of the first seed."""
        return [self._paths.run(run.folder) for run in self._panel_runs(table)]

    def panel_stores(self, table: str) -> dict[str, str]:
        """The stores that the panel's runs read: option → path."""
        stores: dict[str, str] = {}
        for run in self._panel_runs(table):
            stores = self._plan.run_stores(run) | stores
        options = [str(entry.option) for entry in STORED.values()]
        return {option: stores[option] for option in options if option in stores}

    def distance_map_stores(self, table: str) -> dict[str, str]:
        """The stores whose distance maps are drawn: those of the first scribbles and recipe."""
        settings = self._config.tables[table]
        scribbles, recipe = settings.scribbles[0], settings.pseudo_labels[0]
        return {
            "scribbles": self._paths.scribble_labels(scribbles),
            "pseudo-labels": self._paths.pseudo_labels(scribbles, recipe),
        }

    def distance_map_exponents(self, table: str) -> list[tuple[str, str]]:
        """Every λ of a table's methods: option of the command, value."""
        exponents = {
            (name, exponent)
            for method in self._config.variants(table)
            for name, exponent in self._config.method(method).exponents.items()
        }
        return [
            (name.removesuffix("_distance").replace("_", "-") + "-exponent", value_text(exponent))
            for name, exponent in sorted(exponents)
        ]

    def caption(self, table: str) -> str:
        """What was run for a table, for the report."""
        settings, training = self._config.tables[table], settings_dict(self._config.segmentation)
        keys = ("epochs", "min_steps", "batch_size", "crop_size", "optimizer", "learning_rate")
        parts = {
            "data set": self._config.dataset,
            "methods": ", ".join(settings.methods),
            "varied": "; ".join(f"{option} {values}" for option, values in settings.vary.items()),
            "networks": ", ".join(settings.networks),
            "scribbles": ", ".join(settings.scribbles),
            "pseudo-labels": ", ".join(settings.pseudo_labels),
            "seeds": ", ".join(map(str, settings.seeds)),
            "protocol": settings.protocol,
            "training": ", ".join(f"{key} {training[key]}" for key in keys),
        }
        return "; ".join(f"{key}: {value}" for key, value in parts.items() if value)
