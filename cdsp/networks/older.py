"""Configurations of before networks were rows: what stood in `segmentation` becomes a network.

Reading them costs little and spares their users a search; a notice says how to write them now.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

KEYS = ("segmentor", "backbone", "backbone_weights", "output_stride", "frozen_batch_norm")
DECODER_CHANNELS = "decoder_channels"

logger = logging.getLogger(__name__)


def split_network(segmentation: Any) -> tuple[Any, dict[str, Any]]:
    """The settings of the training, and those of a network that stand among them.

    What is no mapping stays as it is, to be refused where settings are parsed.
    """
    if not isinstance(segmentation, Mapping):
        return segmentation, {}
    training = dict(segmentation)
    network = {key: training.pop(key) for key in KEYS if key in training}
    if "segmentor" in network:
        network["head"] = network.pop("segmentor")
    channels = training.pop(DECODER_CHANNELS, None)
    if channels is not None and network.get("head", "deeplabv3plus") == "deeplabv3plus":
        network["head_options"] = {DECODER_CHANNELS: channels}
    return training, network


def with_networks(config: Any) -> Any:
    """A configuration whose tables name "<head>-<backbone>", with a section `networks`.

    Only one without the section is changed; what is wrong in it is left to be told later.
    """
    if not isinstance(config, Mapping) or "networks" in config:
        return config
    segmentation, tables = config.get("segmentation") or {}, config.get("tables") or {}
    if not isinstance(segmentation, Mapping) or not isinstance(tables, Mapping):
        return config
    training, shared = split_network(segmentation)
    recipes = config.get("pseudo_labels") or {}
    sections = [*tables.values(), *(recipes.values() if isinstance(recipes, Mapping) else ())]
    named: list[Any] = []
    for section in sections:
        if isinstance(section, Mapping):
            named += section.get("networks") or []
            named.append((section.get("network") or {}).get("network"))
    networks = {}
    for name in filter(None, named):
        head, _, backbone = str(name).partition("-")
        row = {**shared, "head": head, "backbone": backbone}
        if head != "deeplabv3plus":
            row.pop("head_options", None)
        networks[str(name)] = row
    if networks:
        logger.warning(
            "there is no section 'networks', so that it is taken from the names in the tables and "
            "from 'segmentation'; write it: networks: %s",
            networks,
        )
    return {**config, "segmentation": training, "networks": networks}
