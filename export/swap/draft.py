"""A bundle that isn't one yet: the graphs as written, for measuring them through the very code that will serve them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from export.swap.build import BACKBONE_FILE, FOLD_FILE, WEIGHTS_FILE, SwapFiles
from export.swap.inject import SIGMA
from serve.adapters.adapter import LoadedAdapter, read_adapter
from serve.bundle import Bundle
from serve.encoder import encoder_in
from serve.engine import AdapterSession, Engine
from serve.manifest import BaseSpec, Created, FileEntry, Inputs, Manifest, MeasuredOn, OutputSpec, Variant
from serve.swap import SwapSpec


def swap_spec(files: SwapFiles, adapters: Sequence[str], price: dict[str, float] | None = None) -> SwapSpec:
    """The manifest's `swap` for what `build_swap` wrote."""
    return SwapSpec(
        SIGMA,
        files.width,
        files.outputs,
        files.layers,
        files.heads,
        WEIGHTS_FILE,
        FOLD_FILE,
        tuple(adapters),
        price or {},
    )


class Draft:
    """Graphs in `folder` (`graph` may be another backbone, elsewhere), ready to answer with adapters' folders.

    `model` is the folder of the merged model, which has what rows are encoded by.
    """

    def __init__(
        self,
        folder: Path,
        files: SwapFiles,
        inputs: Inputs,
        base: BaseSpec,
        basis_id: str,
        model: Path,
        graph: Path | None = None,
    ) -> None:
        file = BACKBONE_FILE if graph is None else str(graph.absolute())
        self.manifest = Manifest(
            name="draft",
            task="text-classification",
            labels=("0", "1"),
            input=inputs,
            output=OutputSpec(files.head.output, 2),
            base=base,
            basis_id=basis_id,
            adapter={},
            variants=(Variant("fp32", file, "fp32", True, 0),),
            default_variant="fp32",
            measured_on=MeasuredOn("", (), 1, "?"),
            created=Created("0", "", {}),
            swap=swap_spec(files, ("draft",)),
            files=dict.fromkeys((file, *(head.file for head in files.heads)), FileEntry(0, "0" * 64)),
        )
        self.encoder = encoder_in(model, inputs)
        self.engine = Engine(Bundle(folder, self.manifest), self.encoder)

    @property
    def swap(self) -> SwapSpec:
        """What its manifest says of swapping."""
        assert self.manifest.swap is not None  # noqa: S101 (a draft is always swappable)
        return self.manifest.swap

    def load(self, folder: Path, name: str) -> LoadedAdapter:
        """An adapter's folder, held to these graphs."""
        return read_adapter(folder, self.manifest, named=f"adapter {name}")

    def session(self, adapter: LoadedAdapter, name: str) -> AdapterSession:
        """These graphs with one adapter fed, as a session that takes token batches and gives logits."""
        return AdapterSession(self.engine, adapter, name)
