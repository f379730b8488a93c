import logging

import pytest

from cdsp.experiment.read import parse_config
from cdsp.networks.older import split_network

OLDER = {
    "dataset": "drawn",
    "datasets": {"drawn": {"source": "shapes"}},
    "segmentation": {
        "backbone_weights": "none",
        "decoder_channels": 8,
        "epochs": 3,
        "warmup_epochs": 1,
    },
    "evaluation": {"quick": {}},
    "pseudo_labels": {"walk": {"evidence": "strokes", "labels": {"refinement": "random_walk"}}},
    "tables": {
        "table1": {
            "methods": ["scribble_only"],
            "networks": ["deeplabv3plus-mobilenet_v2", "deeplabv2-resnet18"],
            "pseudo_labels": ["walk"],
            "protocol": "quick",
        }
    },
}


def test_networks_of_an_older_configuration_are_read_with_a_notice(caplog):
    with caplog.at_level(logging.WARNING):
        config = parse_config(OLDER)
    small, plain = config.networks.values()
    assert (small.head, small.backbone) == ("deeplabv3plus", "mobilenet_v2")
    assert (small.backbone_weights, small.head_options["decoder_channels"]) == ("none", 8)
    assert (plain.head, plain.backbone, plain.head_options) == ("deeplabv2", "resnet18", {})
    assert config.segmentation.epochs == 3
    assert "write it: networks: {'deeplabv3plus-mobilenet_v2'" in caplog.text


def test_a_configuration_with_networks_keeps_no_network_in_its_training():
    with pytest.raises(ValueError, match="segmentation: unknown key 'backbone_weights'"):
        parse_config({**OLDER, "networks": {"small": {"backbone": "resnet18"}}})


def test_settings_of_a_command_are_split():
    training, network = split_network(
        {"epochs": 2, "segmentor": "deeplabv2", "decoder_channels": 8}
    )
    assert training == {"epochs": 2}
    assert network == {"head": "deeplabv2"}
