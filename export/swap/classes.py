"""Which axes of which parameters count classes: found by making the model once more with one class more."""

from __future__ import annotations

import copy
from collections.abc import Collection
from typing import TYPE_CHECKING, Any

from serve.errors import InputError

if TYPE_CHECKING:
    from transformers import PreTrainedModel


def class_axes(model: PreTrainedModel, names: Collection[str]) -> dict[str, int | None]:
    """Parameter name → the axis whose length is the number of classes, None where there is none.

    The other model is made on torch's meta device: shapes only. Raises InputError for a parameter the model lacks, or
    one whose shape follows the classes in more than one axis.
    """
    import torch

    config = copy.deepcopy(model.config)
    config.num_labels = (model.config.num_labels or 0) + 1
    kind: Any = type(model)
    with torch.device("meta"):
        other = dict(kind(config).named_parameters())
    own = dict(model.named_parameters())
    axes: dict[str, int | None] = {}
    for name in names:
        if name not in own or name not in other:
            raise InputError(f"{type(model).__name__}: has no parameter {name}, which the adapter trains whole")
        differing = [
            axis
            for axis, (here, there) in enumerate(zip(own[name].shape, other[name].shape, strict=True))
            if here != there
        ]
        if len(differing) > 1:
            raise InputError(f"{name}: {len(differing)} of its axes follow the number of classes; export merged")
        axes[name] = differing[0] if differing else None
    return axes
