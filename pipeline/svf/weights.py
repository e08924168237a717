"""The maps that SVFit can wrap, and their weights as matrices: a convolution is one over the patches it sees."""

from __future__ import annotations

import torch
from torch import nn
from transformers.pytorch_utils import Conv1D


def is_linear(module: nn.Module) -> bool:
    """Whether a module is a plain linear map: `nn.Linear` or transformers' `Conv1D`."""
    return type(module) is nn.Linear or type(module) is Conv1D


def is_convolution(module: nn.Module) -> bool:
    """Whether a module is a plain `nn.Conv2d` of one group. One of several groups has several small matrices; a
    depthwise one has a vector a channel, and nothing to decompose."""
    return type(module) is nn.Conv2d and module.groups == 1


def is_target(module: nn.Module) -> bool:
    """Whether SVFit can wrap a module."""
    return is_linear(module) or is_convolution(module)


def oriented_weight(module: nn.Module) -> torch.Tensor:
    """The weight as `(out, in)`, a view: `nn.Linear` stores it so, `Conv1D` stores its transpose; a kernel
    `(out, channels, kh, kw)` of `nn.Conv2d` is `(out, channels·kh·kw)`."""
    weight = module.weight
    assert isinstance(weight, torch.Tensor)  # noqa: S101 (narrowing for the type checker)
    if isinstance(module, nn.Conv2d):
        return weight.flatten(1)
    return weight.T if isinstance(module, Conv1D) else weight


def stored_weight(module: nn.Module, matrix: torch.Tensor) -> torch.Tensor:
    """A matrix `(out, in)` as the module stores its weight; the inverse of `oriented_weight`."""
    if isinstance(module, nn.Conv2d):
        weight = module.weight
        return matrix.view(matrix.shape[0], *weight.shape[1:])
    return matrix.T if isinstance(module, Conv1D) else matrix


def through(module: nn.Module, matrix: torch.Tensor, x: torch.Tensor, bias: torch.Tensor | None = None) -> torch.Tensor:
    """What the module gives for `x` with the matrix `(any, in)` in place of its weight: `(..., any)`, for a convolution
    `(batch, any, height, width)`, its stride, padding and dilation being the module's."""
    if isinstance(module, nn.Conv2d):
        found: torch.Tensor = module._conv_forward(x, stored_weight(module, matrix), bias)
        return found
    return nn.functional.linear(x, matrix, bias)


def rows_of(module: nn.Module, y: torch.Tensor) -> torch.Tensor:
    """What a module gave as rows `(n, any)`: one a token, or a place of the picture."""
    return (y.movedim(-3, -1) if isinstance(module, nn.Conv2d) else y).flatten(0, -2)
