"""What `svfit tune` found best for a bundle on a machine: a file beside the bundle, used where both are the same."""

from __future__ import annotations

import contextlib
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, Self

from serve.bundle import Bundle, read_json
from serve.errors import InputError, UsageError
from serve.files import sha256_json, write_json
from serve.machine import cores, cpu_model, instruction_sets
from serve.manifest import Manifest
from serve.record import Record
from serve.settings import Settings

FORMAT, VERSION = "svfit-profile", 1
SUFFIX = ".device.json"
NONE = "none"
MAX_BYTES = 2**18
Where = Path | Literal["none"] | None
"""A profile's file; "none" is no profile, None the one beside the bundle, if it is there."""


@dataclass(frozen=True, slots=True)
class Machine:
    """What decides how fast a graph answers, and with int8 what: processor, instruction sets, cores, onnxruntime."""

    cpu: str
    isa: tuple[str, ...]
    cores: int
    onnxruntime: str

    @classmethod
    def here(cls) -> Self:
        """This machine, as far as this process may use it."""
        import onnxruntime

        return cls(cpu_model(), tuple(instruction_sets()), cores(), onnxruntime.__version__)

    @classmethod
    def from_dict(cls, value: Any, where: str) -> Self:
        """Raises InputError, one line that names the key."""
        record = Record(value, where)
        machine = cls(
            cpu=record.get("cpu", str),
            isa=record.strings("isa"),
            cores=record.count("cores", 1),
            onnxruntime=record.text("onnxruntime"),
        )
        record.end()
        return machine


@dataclass(frozen=True, slots=True)
class Profile:
    """A choice for one bundle on one machine, and for others that have its very graphs (see `graphs_digest`).

    `measured` is what was measured of it, `wishes` what was asked for.
    """

    bundle: str
    manifest_sha256: str
    graphs_sha256: str
    machine: Machine
    variant: str
    settings: Settings
    measured: dict[str, Any] = field(default_factory=dict)
    wishes: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def read(cls, path: Path) -> Self:
        """Raises InputError, one line that names the file and the key."""
        named = f"profile {path}"
        record = Record(read_json(path, MAX_BYTES, named), named)
        if record.get("format", str) != FORMAT:
            raise InputError(f"{named}: is no device profile (want format {FORMAT!r}); `svfit tune` makes one")
        version = record.count("format_version", 1)
        if version > VERSION:
            raise InputError(f"{named}: format_version {version} is newer than this svfit reads (up to {VERSION})")
        profile = cls(
            bundle=record.text("bundle"),
            manifest_sha256=record.sha256("manifest_sha256"),
            graphs_sha256=record.sha256("graphs_sha256"),
            machine=Machine.from_dict(record.get("machine", dict), record.place("machine")),
            variant=record.text("variant"),
            settings=_settings(record.get("settings", dict), record.place("settings")),
            measured=record.get("measured", dict),
            wishes=record.get("wishes", dict),
        )
        record.end()
        return profile

    def write(self, path: Path) -> None:
        """Write the file, whole or not at all. The same profile gives the same bytes."""
        write_json(path, {"format": FORMAT, "format_version": VERSION, **asdict(self)})

    def misfit(self, bundle: Bundle, machine: Machine) -> str:
        """Why it says nothing of this bundle on this machine, or ""."""
        if self.graphs_sha256 != graphs_digest(bundle.manifest):
            return f"it was made for another bundle ({self.bundle}, manifest {self.manifest_sha256[:12]})"
        made, here = asdict(self.machine), asdict(machine)
        other = [f"{key} was {_told(made[key])}, is {_told(here[key])}" for key in made if made[key] != here[key]]
        if other:
            return f"it was made elsewhere: {'; '.join(other)}"
        if self.variant not in {variant.name for variant in bundle.manifest.variants}:
            return f"it names variant {self.variant!r}, which the bundle doesn't have"
        if (self.settings.threads or 0) > machine.cores:
            return f"it wants {self.settings.threads} threads of {machine.cores} cores"
        return ""


def graphs_digest(manifest: Manifest) -> str:
    """Hex sha256 of what decides how fast a bundle answers: its graphs and weights, not its adapters and samples.

    So a profile holds on where adapters are added, or a release brings others on the same graphs.
    """
    graphs = {
        name: file.sha256
        for name, file in manifest.files.items()
        if not name.startswith("adapters/") and not name.endswith(".json")
    }
    return sha256_json(graphs)


@dataclass(frozen=True, slots=True)
class Found:
    """The profile to use, or None; `remark` says in one line why one that is there isn't used, else ""."""

    profile: Profile | None = None
    remark: str = ""


def beside(bundle: Path) -> Path:
    """Where the profile of a bundle's folder is: `<name>.device.json` in the folder that the bundle is in."""
    folder = bundle.resolve()
    return folder.with_name(f"{folder.name}{SUFFIX}")


def find(bundle: Bundle, where: Where = None) -> Found:
    """The profile for a bundle on this machine.

    Raises InputError where a named file can't be read; of one beside the bundle that is a remark.
    """
    if where == NONE:
        return Found()
    path = beside(bundle.path) if where is None else Path(where)
    if where is None and not path.exists():
        return Found()
    try:
        profile = Profile.read(path)
    except InputError as error:
        if where is not None:
            raise
        return Found(remark=f"{error}; it isn't used")
    reason = profile.misfit(bundle, Machine.here())
    if reason:
        return Found(remark=f"profile {path} isn't used: {reason}; `svfit tune {bundle.path}` makes it anew")
    return Found(profile)


def keep(source: Path, bundle: Bundle) -> None:
    """Have the profile that lies beside the folder `source` beside a bundle too, where it fits and there is none.

    What can't be read or written is left: a bundle answers without.
    """
    place = beside(bundle.path)
    with contextlib.suppress(InputError, OSError):
        profile = Profile.read(beside(source))
        if not place.exists() and not profile.misfit(bundle, Machine.here()):
            profile.write(place)


def chosen(profile: Profile | None, variant: str | None, threads: int | None) -> tuple[str | None, Settings]:
    """Variant (None: the bundle's default) and settings: what is given wins over the profile, and that over the usual.

    Raises UsageError for threads that can't be.
    """
    if profile is None:
        return variant, Settings(threads)
    settings = profile.settings if threads is None else replace(profile.settings, threads=threads)
    return variant or profile.variant, settings


def _settings(value: dict[str, Any], where: str) -> Settings:
    record = Record(value, where)
    threads = record.count("threads", 1)
    switches = {name: record.get(name, bool) for name in ("arena", "mem_pattern", "spinning", "prepacking")}
    record.end()
    try:
        return Settings(threads, **switches)
    except UsageError as error:
        raise InputError(f"{where}: {error}") from None


def _told(value: Any) -> str:
    return "/".join(value) or "unknown" if isinstance(value, list | tuple) else str(value)
