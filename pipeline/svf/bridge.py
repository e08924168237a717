"""PEFT's door: importing this module makes SVFit a PEFT method, beside LoRA and the others.

    from peft import get_peft_model
    from pipeline.svf.bridge import SVFitConfig

    model = get_peft_model(model, SVFitConfig(task_type="SEQ_CLS"))

PEFT knows its methods from an enum that it offers no way to extend, so that is done here by hand, once.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from peft import PeftConfig
from peft.mapping import PEFT_TYPE_TO_CONFIG_MAPPING
from peft.utils import PeftType, register_peft_method

from export.core import Core
from pipeline.svf.bridge_layer import PREFIX, SVFitLayer
from pipeline.svf.bridge_model import SVFitModel
from serve.errors import UsageError

__all__ = ["SVFitConfig", "SVFitLayer", "SVFitModel"]

NAME = "SVFIT"


@dataclass
class SVFitConfig(PeftConfig):
    """How SVFit adapts a model, with the meanings of `pipeline.svf.wrap`.

    `rank` is a number of directions, a share of the energy, `"full"`, or a table of patterns; `target_modules` is
    `"all-linear"`, a regular expression or a list of names; `modules_to_save` names the modules trained whole, which
    are never targets, as the model's head never is. `core` is `"diagonal"`, `"banded"` (with `bands` of at least 1) or
    `"dense"`, which is refused at a rank where it would train as many values as a weight has. `basis` and `basis_id`
    are filled when the adapter is made and travel with it: it is refused on any other basis.
    """

    rank: int | float | str | dict[str, Any] = field(default="full", metadata={"help": "Directions of each weight."})
    target_modules: str | list[str] | None = field(default="all-linear", metadata={"help": "Layers to adapt."})
    modules_to_save: list[str] | None = field(default=None, metadata={"help": "Modules trained whole, and saved."})
    core: str = field(default="diagonal", metadata={"help": "diagonal, banded or dense."})
    bands: int = field(default=0, metadata={"help": "Neighbours on either side, of a banded core."})
    basis_id: str | None = field(default=None, metadata={"help": "Identity of the basis; filled, not set."})
    basis: dict[str, Any] | None = field(default=None, metadata={"help": "Its description; filled, not set."})

    def __post_init__(self) -> None:
        super().__post_init__()  # type: ignore[no-untyped-call]
        self.peft_type = PeftType[NAME]
        if (self.basis is None) != (self.basis_id is None):
            raise UsageError("SVFitConfig: basis and basis_id come together, from a saved adapter")
        Core(self.core, self.bands)  # refuses what is none


def _register() -> None:
    """Add the method to PEFT's enum and tables; a second call changes nothing."""
    if NAME not in PeftType.__members__:
        member = str.__new__(PeftType, NAME)
        member._name_, member._value_ = NAME, NAME
        type.__setattr__(PeftType, NAME, member)
        PeftType._member_names_.append(NAME)
        PeftType._member_map_[NAME] = member
        PeftType._value2member_map_[NAME] = member
    if PeftType[NAME] not in PEFT_TYPE_TO_CONFIG_MAPPING:
        register_peft_method(name=NAME.lower(), config_cls=SVFitConfig, model_cls=SVFitModel, prefix=PREFIX)


_register()
