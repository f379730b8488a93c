"""The network that the trainings of the tests are of."""

from cdsp.networks.settings import NetworkSettings

TINY_NETWORK = NetworkSettings(
    backbone="mobilenet_v2", backbone_weights="none", head_options={"decoder_channels": 8}
)
WITHOUT_POOLING = NetworkSettings(
    head="deeplabv2", backbone="mobilenet_v2", backbone_weights="none", frozen_batch_norm=True
)
