"""What several recipes share, named by the digest of all that it depends on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from cdsp.io.json_files import digest
from cdsp.pseudo_labels.settings import CamSettings, ClassifierSettings, PixelSettings
from cdsp.settings import settings_dict


@dataclass(frozen=True)
class Classifier:
    """A classifier that recipes share.

    Attributes:
        settings: network and optimisation.
        classes_from: the scribbles that its image-level classes come from; "degraded" wherever a
            degradation takes no class away.
    """

    settings: ClassifierSettings
    classes_from: str

    @property
    def name(self) -> str:
        """Tells it apart from other classifiers on the same scribbles."""
        return short_digest([settings_dict(self.settings), self.classes_from])


@dataclass(frozen=True)
class Cams:
    """Class activation maps that recipes share.

    Attributes:
        classifier: whose maps they are.
        settings: scales and flip.
    """

    classifier: Classifier
    settings: CamSettings

    @property
    def name(self) -> str:
        """Tells them apart from other maps on the same scribbles."""
        return short_digest([self.classifier.name, settings_dict(self.settings)])


@dataclass(frozen=True)
class PixelClassifier:
    """A pixel classifier, and what it says of the training images, that recipes share.

    Attributes:
        settings: of the pixel classifier.
        classes_from: see `Classifier`.
    """

    settings: PixelSettings
    classes_from: str

    @property
    def name(self) -> str:
        """Tells it apart from other pixel classifiers on the same scribbles."""
        return short_digest([settings_dict(self.settings), self.classes_from])


def short_digest(value: Any) -> str:
    """Eight hexadecimal digits that name what is shared."""
    return digest(value)[:8]
