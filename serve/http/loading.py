"""What a server answers with: a bundle, or a site's current release, to a runtime and its scheduler."""

from __future__ import annotations

import logging
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from serve.batching.execution import BatchHook
from serve.batching.scheduler import Scheduler
from serve.bundle import Bundle
from serve.config import ServeConfig
from serve.delivery.signature import open_trusted
from serve.errors import InputError, UsageError
from serve.http.logs import Log
from serve.images.spec import ImageSpec
from serve.machine import cores
from serve.profile import find
from serve.runtime import Runtime
from serve.site.install import first_release
from serve.site.store import Site

_LOG = logging.getLogger(__name__)


def open_bundle(bundle: Path | None, config: ServeConfig, log: Log) -> tuple[Site | None, Bundle, Path | None]:
    """The site, where there is one, the checked bundle that answers, and the folder of its later adapters.

    A site that has a release serves that; an empty one takes `bundle` as its first. Raises UsageError where there is
    nothing to serve, InputError, Conflict where another process has the site.
    """
    if config.site is None:
        if bundle is None:
            raise UsageError("nothing to serve; name a bundle, or a folder of releases with --site DIR")
        return None, open_trusted(bundle, config.trust), config.state
    site = Site(config.site, config.site_keep)
    try:
        entry = site.history.now
        if entry is None:
            if bundle is None:
                raise UsageError(f"site {config.site}: has no release yet; name a bundle to begin with")
            entry = first_release(site, bundle, config.trust)
        elif bundle is not None:
            log.event("the site has a release, so the bundle that was named isn't read", bundle=str(bundle))
        try:
            opened = open_trusted(site.place(entry.release), config.trust)
        except InputError as error:
            back = f"; `svfit rollback --site {config.site}` goes back to the release before"
            raise InputError(
                f"{error}{back if site.history.current + 1 < len(site.history.entries) else ''}"
            ) from error
        return site, opened, site.state(entry)
    except BaseException:
        site.close()
        raise


def load(
    bundle: Bundle, state: Path | None, config: ServeConfig, on_batch: BatchHook | None
) -> tuple[Runtime, Scheduler]:
    """A checked bundle's runtime with its later adapters in `state`, and its workers. Raises InputError, UsageError."""
    found = find(bundle, config.profile)
    if found.remark:
        _LOG.warning("%s", found.remark)
    if isinstance(bundle.manifest.input, ImageSpec) and find_spec("PIL") is None:
        _LOG.warning("image files are refused, only tensors taken: Pillow isn't here; try: pip install 'svfit[image]'")
    shared = max(1, cores() // config.workers)  # more would wait for each other
    runtime = Runtime(
        bundle,
        state=state,
        variant=config.variant,
        threads=config.threads or (shared if found.profile is None else None),
        profile=found.profile,
        adapters_mb=config.adapters_mb,
        promote=config.promote,
        promote_mb=config.promote_mb,
    )
    return runtime, _scheduler(runtime, config, on_batch)


def _scheduler(runtime: Runtime, config: ServeConfig, on_batch: Any) -> Scheduler:
    return Scheduler(
        runtime,
        max_rows=config.max_batch_rows,
        max_tokens=config.max_batch_tokens,
        max_delay_ms=config.max_delay_ms,
        queue_rows=config.queue_rows,
        workers=config.workers,
        on_batch=on_batch,
    )
