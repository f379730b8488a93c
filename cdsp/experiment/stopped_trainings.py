"""What is said before trainings start from 0 that were begun with other settings."""

from __future__ import annotations

import itertools
from pathlib import Path

from cdsp.experiment.plan import Plan
from cdsp.training.record import read_training, read_unfinished


def stopped_trainings(plan: Plan) -> list[str]:
    """Name the trainings that were stopped, and whose settings are others now, a line each."""
    config, lines = plan.config, []
    for run in dict.fromkeys(itertools.chain(*map(config.runs, config.tables))):
        folder = Path(plan.paths.run(run.folder)).parent
        try:
            stopped, finished = read_unfinished(folder), read_training(folder)
        except ValueError as error:
            lines.append(str(error))
            continue
        trained = config.run_settings(run).as_trained
        begun = [record for record in (finished, *stopped) if record.settings]
        if all(record.differences(trained) for record in begun):
            lines += [record.starts_again(trained) for record in stopped]
    return lines
