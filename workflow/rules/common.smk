"""What every rule file uses: the checked configuration, paths, threads and GPUs.

A rule gives its command the settings of its own stage, as sorted JSON, and nothing else: a setting
that changes remakes what depends on it and nothing more.
"""

import os
import shutil

from cdsp.config import Run, parse_config
from cdsp.files import canonical_json
from cdsp.settings import settings_dict

try:
    CONFIG = parse_config(config)
except ValueError as error:
    raise WorkflowError(str(error))

STAGES = f"results/{CONFIG.dataset}"
"""Folder of the configured data set, below which each stage has a folder of its own name."""


wildcard_constraints:
    scribbles="full|shrink-[0-9.]+|drop-[0-9.]+|none",
    recipe="|".join([*CONFIG.pseudo_labels, "none"]),
    method="|".join(CONFIG.methods),
    network="[a-z0-9_]+-[a-z0-9_]+",
    protocol="|".join(CONFIG.evaluation),
    table="|".join(CONFIG.tables),
    exponent="[0-9.]+",
    seed="[0-9]+",


def settings_json(settings):
    """A stage's settings as the text that its command reads."""
    return canonical_json(settings_dict(settings))


def real_cores(number):
    """Threads for a job that keeps `number` processors busy.

    With more --cores than the machine has processors, each job counts for as many cores more, so
    that no processor gets two jobs.
    """
    processors = (
        len(os.sched_getaffinity(0))
        if hasattr(os, "sched_getaffinity")
        else os.cpu_count()
    )
    return number * max(1, (workflow.cores or 1) // processors)


# A total of `gpu: 1` (profiles/default) runs one job at a time on a machine with a GPU; without
# one, jobs ask for none and run side by side on the processors.
GPU = 1 if shutil.which("nvidia-smi") else 0
