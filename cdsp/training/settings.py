"""Names that settings of both trainers share; PyTorch is not loaded for them."""

from typing import Literal

OptimizerName = Literal["sgd", "adamw"]
