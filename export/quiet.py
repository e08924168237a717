"""Keep other libraries' notices away from the person while one of their calls runs."""

from __future__ import annotations

import contextlib
import io
import logging
import warnings
from collections.abc import Iterator


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Hide warnings, log records below ERROR and prints to stdout; everything is as before afterwards.

    The exporter of transformers and ONNX Runtime's quantizer print their progress and warn of versions, of
    ops that aren't used here, and of their own deprecations. Errors still come out, as exceptions.
    """
    root = logging.getLogger()
    handlers, disabled = list(root.handlers), root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(disabled)
        root.handlers[:] = handlers  # logging.warning() on a bare root logger would have added one
