#!/usr/bin/env bash
# Snakemake runs this in the new environment, from the folder in which it was started.
set -euo pipefail
if ! grep -qs '^name = "cdsp"' pyproject.toml; then
    echo "start snakemake --sdm conda in the folder of the Snakefile: the environment installs cdsp from it" >&2
    exit 1
fi
python -m pip install --no-deps --editable .
