"""SVFit: the layer, its injection into a model, ranks, and the SVD with its cache."""

from pipeline.svf.wrap import SVFit, head_modules, wrap

__all__ = ["SVFit", "head_modules", "wrap"]
