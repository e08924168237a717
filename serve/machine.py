"""What this machine is, as far as inference cares. Standard library only; unknown facts are None or left out."""

from __future__ import annotations

import contextlib
import os
import platform
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

# What the kernel calls an instruction set: what we call it. Those that decide how fast int8 and fp32 run.
LINUX_FLAGS = {
    "avx2": "avx2",
    "avx512f": "avx512f",
    "avx512_vnni": "avx512_vnni",
    "avx_vnni": "avx_vnni",
    "amx_int8": "amx_int8",
    "asimd": "neon",
    "asimddp": "asimddp",
    "i8mm": "i8mm",
}
MACOS_KEYS = {
    "hw.optional.avx2_0": "avx2",
    "hw.optional.avx512f": "avx512f",
    "hw.optional.avx512vnni": "avx512_vnni",
    "hw.optional.neon": "neon",
    "hw.optional.arm.FEAT_DotProd": "asimddp",
    "hw.optional.arm.FEAT_I8MM": "i8mm",
}
INT8_DOT = {"avx512_vnni", "avx_vnni", "amx_int8", "asimddp", "i8mm"}


def describe() -> dict[str, Any]:
    """Facts of this machine, ready for JSON.

    `cpu` (model, text), `isa` (list of "avx2", "avx512f", "avx512_vnni", "avx_vnni", "amx_int8", "neon",
    "asimddp", "i8mm"), `cores` (usable by this process), `memory_bytes` and `free_memory_bytes` (within the
    container's limit; None if unknown), `os`, `python`.
    """
    total, free = memory()
    return {
        "cpu": cpu_model(),
        "isa": instruction_sets(),
        "cores": cores(),
        "memory_bytes": total,
        "free_memory_bytes": free,
        "os": platform.platform(terse=True),
        "python": platform.python_version(),
    }


def has_int8_dot(isa: list[str]) -> bool:
    """Whether the CPU multiplies int8 with one instruction; without, int8 saves memory more than time."""
    return not INT8_DOT.isdisjoint(isa)


def cpu_model(cpuinfo: str | None = None) -> str:
    """The CPU's name: /proc/cpuinfo's model name, the board's name on ARM, sysctl's on macOS."""
    text = read_text("/proc/cpuinfo") if cpuinfo is None else cpuinfo
    for key in ("model name", "Model", "Hardware", "cpu model"):
        found = re.search(rf"^{key}\s*:\s*(\S.*?)\s*$", text, re.MULTILINE)
        if found:
            return found[1]
    board = read_text("/proc/device-tree/model").strip("\0 \n")
    return board or _sysctl(["machdep.cpu.brand_string"]).get("machdep.cpu.brand_string") or _machine()


def instruction_sets(cpuinfo: str | None = None) -> list[str]:
    """Those in LINUX_FLAGS that this CPU has, in that table's order."""
    text = read_text("/proc/cpuinfo") if cpuinfo is None else cpuinfo
    flags = re.search(r"^(?:flags|Features)\s*:\s*(.*)$", text, re.MULTILINE)
    if flags:
        there = set(flags[1].split())
        return [name for flag, name in LINUX_FLAGS.items() if flag in there]
    values = _sysctl(list(MACOS_KEYS))
    return [name for key, name in MACOS_KEYS.items() if values.get(key) == "1"]


def cores() -> int:
    """Logical cores that this process may use: its affinity, and a container's CPU quota rounded up."""
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quota, _, period = read_text("/sys/fs/cgroup/cpu.max").partition(" ")
    if quota.isdigit() and period.strip().isdigit():
        usable = min(usable, max(1, -(-int(quota) // int(period))))
    return usable


def memory(meminfo: str | None = None) -> tuple[int | None, int | None]:
    """Total and available memory in bytes, no more than a container's limit allows."""
    text = read_text("/proc/meminfo") if meminfo is None else meminfo
    total, free = kilobytes(text, "MemTotal"), kilobytes(text, "MemAvailable")
    if total is None:
        size = _sysctl(["hw.memsize"]).get("hw.memsize", "")
        return (int(size) if size.isdigit() else None), None
    limit, used = read_text("/sys/fs/cgroup/memory.max").strip(), read_text("/sys/fs/cgroup/memory.current").strip()
    if meminfo is None and limit.isdigit() and int(limit) < total:
        total = int(limit)
        if free is not None and used.isdigit():
            free = min(free, max(0, total - int(used)))
    return total, free


def give_back_memory() -> None:
    """Hand freed memory back to the system, which glibc would keep for later; elsewhere nothing happens."""
    if sys.platform != "linux":
        return
    import ctypes

    with contextlib.suppress(AttributeError, OSError):  # another C library than glibc hasn't it
        ctypes.CDLL(None).malloc_trim(0)


def kilobytes(text: str, key: str) -> int | None:
    """The bytes that a file of /proc tells as `key: n kB`; None where it doesn't."""
    found = re.search(rf"^{key}:\s+(\d+) kB$", text, re.MULTILINE)
    return int(found[1]) * 1024 if found else None


def _machine() -> str:
    return platform.processor() or platform.machine() or "unknown"


def read_text(path: str) -> str:
    """A file of the system's, or nothing where it can't be read."""
    try:
        return Path(path).read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""


def _sysctl(keys: list[str]) -> dict[str, str]:
    """macOS's answers for the keys it knows; nothing elsewhere."""
    if platform.system() != "Darwin":
        return {}
    try:
        answer = subprocess.run(  # noqa: S603 - a fixed command line
            ["/usr/sbin/sysctl", *keys], capture_output=True, text=True, timeout=5, check=False
        ).stdout
    except (OSError, subprocess.TimeoutExpired):
        return {}
    return dict(line.split(": ", 1) for line in answer.splitlines() if ": " in line)
