import json
import subprocess
import sys
from typing import get_args

import pytest

from cdsp.networks.heads import build_network
from cdsp.networks.settings import BACKBONES, HEADS, BackboneName, HeadName, NetworkSettings
from cdsp.settings import parse_settings, settings_dict


def parse(**values) -> NetworkSettings:
    return parse_settings(NetworkSettings, values, "networks.mine")


def test_the_tables_hold_the_names_that_settings_accept():
    assert list(BACKBONES) == list(get_args(BackboneName))
    assert list(HEADS) == list(get_args(HeadName))


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"head": "deeplab3plus"}, r"networks\.mine\.head: unknown value.*did you mean 'deeplabv3"),
        ({"backbone": "resnet81"}, r"networks\.mine\.backbone: unknown value.*'resnet18'"),
        ({"decoder_channels": 8}, r"networks\.mine: unknown key 'decoder_channels'"),
        (
            {"head_options": {"decoder_chanels": 8}},
            r"networks\.mine: head_options of deeplabv3plus: unknown key.*'decoder_channels'\?",
        ),
        ({"head_options": {"decoder_channels": 0}}, r"decoder_channels: 0 is out of range"),
        (
            {"head": "deeplabv2", "head_options": {"decoder_channels": 8}},
            r"head_options of deeplabv2: unknown key 'decoder_channels'",
        ),
        ({"output_stride": 12}, r"networks\.mine: output_stride 12: deeplabv3plus serves 8 and 16"),
        ({"head_factor": -1}, r"head_factor: -1 is out of range"),
    ],
)
def test_mistakes_are_told_with_what_was_expected(values, message):
    with pytest.raises(ValueError, match=message):
        parse(**values)


def test_the_options_of_the_head_are_filled_in():
    usual = {"decoder_channels": 256, "image_pooling": True}
    assert parse().head_options == usual
    small = {"decoder_channels": 8}
    assert parse(head_options=small).head_options == usual | small
    assert parse(head="deeplabv2").head_options == {}


def test_settings_come_back_from_json():
    settings = parse(head_options={"decoder_channels": 8}, backbone="resnet18", head_factor=10)
    assert parse(**json.loads(json.dumps(settings_dict(settings)))) == settings


def test_the_output_stride_is_that_of_the_head_unless_named():
    assert parse().stride == 16
    assert parse(head="deeplabv2").stride == 8
    assert parse(head="deeplabv2", output_stride=16).stride == 16


def test_a_stride_that_the_backbone_does_not_have_is_refused(monkeypatch):
    from cdsp.networks.backbones import resnet

    monkeypatch.setattr(resnet.ResNet, "output_strides", (16, 32))
    with pytest.raises(
        ValueError, match=r"output_stride 8: resnet18 has 16, 32; set output_stride"
    ):
        build_network(parse(head="deeplabv2", backbone="resnet18"), 3)


def test_settings_load_no_network_library():
    script = """
import sys, cdsp.networks.settings
assert "torch" not in sys.modules
cdsp.networks.settings.NetworkSettings()
assert "torchvision" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", script], check=True)
