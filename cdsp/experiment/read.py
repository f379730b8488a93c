"""Reads `config.yaml` and what is laid over it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cdsp.experiment.config import Config
from cdsp.networks.older import with_networks
from cdsp.settings import parse_settings, read_yaml


def parse_config(value: Any, where: str = "config") -> Config:
    """Check a configuration read from YAML.

    Raises:
        ValueError: naming the key, what is wrong with it and what was expected.
    """
    return parse_settings(Config, with_networks(value), where)


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
        merged = merge_settings(merged, value or {})
    try:
        return parse_config(merged, "config")
    except ValueError as error:
        files, said = " + ".join(map(str, paths)), str(error)
        raise ValueError(f"{files}: {said.removeprefix('config').lstrip('.: ')}") from error


def merge_settings(base: Any, changes: Mapping[str, Any]) -> Any:
    """Lay settings over others, as Snakemake does: mappings key by key, all else replaces."""
    if not changes:
        return base
    merged = dict(base) if isinstance(base, Mapping) else {}
    for key, value in changes.items():
        is_mapping = isinstance(value, Mapping)
        merged[key] = merge_settings(merged.get(key, {}), value) if is_mapping else value
    return merged
