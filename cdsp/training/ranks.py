"""Several processes that train one network, each with its share of every batch, by `torchrun`.

Each computes the totals of its share, divided by the counts of the whole batch, so that gradients
are added up over the processes, and never averaged: a step is that of one process with the batch.
Without `torchrun` there is one process, and none of this changes anything.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn

Value = TypeVar("Value")


def join() -> None:
    """Meet the other processes that `torchrun` has started."""
    if not dist.is_initialized():
        dist.init_process_group()  # Gloo for tensors of the CPU, NCCL for those of GPUs


def _several() -> bool:
    return dist.is_available() and dist.is_initialized()


def size() -> int:
    """The number of processes."""
    return dist.get_world_size() if _several() else 1


def rank() -> int:
    """The number of this process, from 0; the first one writes."""
    return dist.get_rank() if _several() else 0


def from_first(value: Value) -> Value:
    """What the first process has for ``value``."""
    if size() == 1:
        return value
    values = [value]
    dist.broadcast_object_list(values, src=0)
    return values[0]


def gather(value: Value) -> list[Value]:
    """The values of all processes, in their order."""
    values: list[Any] = [value] * size()
    if size() > 1:
        dist.all_gather_object(values, value)
    return values


def any_of(flag: bool) -> bool:
    """Whether a flag is set in some process."""
    if size() == 1:
        return flag
    flags = torch.tensor(int(flag))
    dist.all_reduce(flags, dist.ReduceOp.MAX)
    return bool(flags)


def add_up(values: dict[str, Tensor]) -> dict[str, Tensor]:
    """The sums of scalars over the processes, which name the same ones."""
    if size() == 1:
        return values
    names = sorted(values)
    packed = torch.stack([values[name].detach().double() for name in names])
    dist.all_reduce(packed)
    sums = dict(zip(names, packed, strict=True))
    return {name: sums[name].to(value.dtype) for name, value in values.items()}


def add_up_gradients(parameters: Iterable[nn.Parameter]) -> None:
    """Add up the gradients of the processes, in place; one that no process has stays None."""
    if size() == 1:
        return
    by_kind: dict[tuple[torch.dtype, torch.device], list[nn.Parameter]] = {}
    for parameter in parameters:
        by_kind.setdefault((parameter.dtype, parameter.device), []).append(parameter)
    for kind, members in by_kind.items():
        # One vector: the gradients, and for each parameter whether there is one.
        has = torch.tensor([p.grad is not None for p in members], dtype=kind[0], device=kind[1])
        gradients = [torch.zeros_like(p) if p.grad is None else p.grad for p in members]
        packed = torch.cat([*(gradient.flatten() for gradient in gradients), has])
        dist.all_reduce(packed)
        *sums, has = packed.split([*(p.numel() for p in members), len(members)])
        for parameter, gradient, total, some in zip(
            members, gradients, sums, has.tolist(), strict=True
        ):
            if some:
                parameter.grad = gradient.copy_(total.view_as(gradient))


def synchronise_batch_norm(module: nn.Module) -> None:
    """Let every batch norm take mean and variance over the images of all processes.

    On GPUs by PyTorch's own, which has no implementation for CPUs.
    """
    if size() == 1:
        return
    for child in list(module.modules()):
        for name, layer in child.named_children():
            if not isinstance(layer, nn.BatchNorm2d):
                continue
            if next(iter(layer.buffers())).is_cuda:
                setattr(child, name, nn.SyncBatchNorm.convert_sync_batchnorm(layer))
            else:
                layer.__class__ = SynchronisedBatchNorm


class _Sum(torch.autograd.Function):
    """A tensor's sum over the processes, each of which learns from it."""

    @staticmethod
    def forward(ctx: Any, value: Tensor) -> Tensor:
        value = value.clone()
        dist.all_reduce(value)
        return value

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:  # pyright: ignore[reportIncompatibleMethodOverride]
        gradient = gradient.contiguous().clone()
        dist.all_reduce(gradient)
        return gradient


class SynchronisedBatchNorm(nn.BatchNorm2d):
    """Batch norm over the images of all processes, by plain sums; for CPUs."""

    def forward(self, input: Tensor) -> Tensor:
        """(B, C, H, W), of any B, which may differ between the processes → the same shape."""
        if not self.training:
            return super().forward(input)
        values = input.to(torch.promote_types(input.dtype, torch.float32))
        number = values.new_tensor([values.numel() / values.shape[1]])
        sums: Tensor = _Sum.apply(torch.cat([values.sum((0, 2, 3)), number]))  # type: ignore[assignment]
        count = sums[-1].item()
        mean = sums[:-1] / count
        centred = values - mean[:, None, None]
        variance: Tensor = _Sum.apply(centred.square().sum((0, 2, 3))) / count  # type: ignore[operator]
        assert self.running_mean is not None
        assert self.running_var is not None
        assert self.momentum is not None
        assert self.num_batches_tracked is not None
        with torch.no_grad():
            self.num_batches_tracked += 1
            self.running_mean.lerp_(mean, self.momentum)
            self.running_var.lerp_(variance * count / (count - 1), self.momentum)
        factor = torch.rsqrt(variance + self.eps) * self.weight
        scaled = centred * factor[:, None, None] + self.bias[:, None, None]
        return scaled.to(input.dtype)


@contextmanager
def told_when_another_ends() -> Iterator[None]:
    """Say in words that another process has ended while this one waited for it.

    Raises:
        ValueError: that it has.
    """
    try:
        yield
    except RuntimeError as error:
        text = str(error)
        if size() == 1 or not any(name in text for name in ("gloo", "Gloo", "NCCL", "c10d")):
            raise
        raise ValueError(
            f"another of the {size()} processes of this training ended: its own message, or "
            "torchrun's, says why. What was saved is kept: the same command goes on from there "
            f"({text.splitlines()[0][:200]})"
        ) from error
