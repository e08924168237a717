"""SVFit: the layer, its injection into a model, ranks, and the SVD with its cache."""

from pipeline.svf.inject import head_modules, wrap
from pipeline.svf.wrap import SVFit

__all__ = ["SVFit", "head_modules", "wrap"]
