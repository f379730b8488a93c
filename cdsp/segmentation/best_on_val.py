"""The network of the epoch that is best on the validation masks, kept beside the last one.

Many published scores are of this network. It was chosen by the masks that it is measured on, so
that its score there is an upper bound of what the method gives where there are none.
"""

from __future__ import annotations

import copy

import numpy as np
import torch
from torch import Tensor, nn

from cdsp.dataset.voc_layout import Dataset
from cdsp.evaluation.settings import EvaluationSettings
from cdsp.evaluation.truth import validation_masks
from cdsp.metrics import class_indices, confusion_matrix, scores
from cdsp.networks.heads import SegmentationNetwork
from cdsp.networks.predictor import predict_probabilities
from cdsp.training import ranks


class BestOnVal(nn.Module):
    """Measures each epoch's network, and keeps the first of the best.

    A part of the objective, so that it is kept with the state of an unfinished run.

    Attributes:
        network: the best one so far.
        epoch: its epoch, from 1; 0 before the first.
        score: its mIoU, a fraction.
    """

    epoch: Tensor
    score: Tensor

    def __init__(
        self, network: SegmentationNetwork, dataset: Dataset, protocol: EvaluationSettings
    ) -> None:
        """Prepare; nothing is measured.

        Args:
            network: of the kind that is to be measured.
            dataset: whose validation images have masks.
            protocol: by which they are predicted.

        Raises:
            ValueError: there is no validation image, or one of the protocol's classes is unknown.
        """
        super().__init__()
        self.network = copy.deepcopy(network).requires_grad_(False)
        self.register_buffer("epoch", torch.tensor(0))
        self.register_buffer("score", torch.tensor(-1.0, dtype=torch.float64))
        self.truth, self.protocol = validation_masks(dataset), protocol
        self.working_size = dataset.usual_size
        self.averaged = class_indices(protocol.classes, dataset.classes)

    def after_epoch(self, network: SegmentationNetwork, epoch: int) -> float:
        """Measure the network of an epoch, and keep it if it is better than all before.

        Args:
            network: left in evaluation mode.
            epoch: from 1.

        Returns:
            Its mIoU, a fraction.
        """
        score = self._mean_iou(network.eval())
        if score > self.score.item():
            self.network.load_state_dict(network.state_dict())
            self.epoch.fill_(epoch)
            self.score.fill_(score)
        return score

    def _mean_iou(self, network: SegmentationNetwork) -> float:
        """The mIoU on the validation masks, of which each process predicts its share."""
        dataset, device = self.truth.dataset, self.score.device
        confusion = np.zeros((len(dataset.classes),) * 2, np.int64)
        for image_id in self.truth.ids[ranks.rank() :: ranks.size()]:
            probability = predict_probabilities(
                network,
                dataset.image(image_id),
                self.protocol,
                device,
                working_size=self.working_size,
            )
            prediction = probability.argmax(dim=0).to(torch.uint8).cpu().numpy()
            confusion += confusion_matrix(self.truth.label(image_id), prediction, len(confusion))
        result = scores(np.sum(ranks.gather(confusion), axis=0), self.averaged)
        if np.isnan(result.mean_iou):
            raise ValueError(
                f"best_on_val: no pixel of the validation masks of {dataset.name!r} is of a class "
                "that the protocol averages over; leave best_on_val out, or mend the masks"
            )
        return result.mean_iou
