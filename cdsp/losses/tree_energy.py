"""Tree energy loss (Liang, Wang, Zhang, Sun and Shen, CVPR 2022)."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from cdsp.io.files import IGNORE
from cdsp.losses import LossTerm, Step, Sum, TermOptions, at_least_float32, loss_term
from cdsp.losses.grid import mean_colours, probabilities, rgb
from cdsp.losses.lorm import subsample
from cdsp.losses.tree_filter import spanning_tree, tree_filter
from cdsp.networks.heads import SegmentationNetwork
from cdsp.networks.layers import convolution_block
from cdsp.settings import setting


@loss_term("tree_energy", reads=("scribble", "valid"))
class TreeEnergy(LossTerm):
    """Σ_U |p − F_high(F_low(p))|₁ on the pixels U without a stroke; published with a weight of 0.4.

    F_low averages over a spanning tree of the colours, F_high over one of the decoder's feature,
    embedded by a convolution; p at the size of that feature. The gradient passes through both
    sides of the difference, and through F_high's weights.
    """

    @dataclass(frozen=True)
    class Options(TermOptions):
        """Options of the tree energy."""

        channels: int = setting(256, "of the embedding of the decoder's feature", minimum=1)
        colour_scale: float = setting(
            0.02, "of squared differences of red, green and blue from 0 to 1", minimum=1e-6
        )
        feature_scale: float = setting(1.0, "of squared differences of the embedding", minimum=1e-6)

    options: Options

    def __init__(self, options: TermOptions, network: SegmentationNetwork) -> None:
        super().__init__(options, network)
        channels = network.feature_channels["decoder"]
        self.embed = convolution_block(channels, self.options.channels)

    def forward(self, step: Step) -> Sum:
        """Summed over the points without a stroke."""
        decoder = at_least_float32(step.output.features["decoder"])
        size = decoder.shape[-2:]
        probability = probabilities(step, size)
        colour = rgb(mean_colours(step.image, step.maps["valid"], size)).to(probability.dtype)
        soft = self._filter(probability, colour, self.options.colour_scale)
        soft = self._filter(soft, self.embed(decoder), self.options.feature_scale)
        valid = subsample(step.maps["valid"], size) != 0
        unlabelled = valid & (subsample(step.maps["scribble"], size) == IGNORE)
        difference = (probability - soft).abs().sum(dim=1) * unlabelled
        return Sum(difference.sum(), unlabelled.sum())

    @staticmethod
    def _filter(values: Tensor, feature: Tensor, scale: float) -> Tensor:
        return tree_filter(values, feature, spanning_tree(feature), scale)
