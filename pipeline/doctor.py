"""What this machine can do: versions by stage, GPU, CPU, memory, disk, and what is missing for what."""

from __future__ import annotations

import importlib
import importlib.metadata
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

from serve import machine

# Distributions by the stage that needs them first; a test holds this against pyproject.toml.
STAGES: dict[str, tuple[str, ...]] = {
    "serve": (
        "click",
        "cryptography",
        "fastapi",
        "numpy",
        "onnxruntime",
        "prometheus-client",
        "python-multipart",
        "rich",
        "safetensors",
        "tokenizers",
        "uvicorn",
    ),
    "export": ("onnx", "onnxscript", "torch", "transformers"),
    "train": (
        "accelerate",
        "datasets",
        "optimum",
        "peft",
        "pillow",
        "psutil",
        "pyarrow",
        "pydantic",
        "requests",
        "scikit-learn",
        "scipy",
        "seqeval",
    ),
}
INSTALL = {
    "serve": "pip install --force-reinstall svfit",
    "export": "pip install 'svfit[train]'",
    "train": "pip install 'svfit[train]'",
}
NEEDS = {"serve": ("serve",), "export": ("serve", "export"), "train": ("serve", "export", "train")}
LOW_DISK = 2 * 10**9  # bytes; a run on a small encoder writes some 500 MB, its basis cache some 150 MB more


def examine(folder: Path) -> dict[str, Any]:
    """All facts, ready for JSON: `machine`, `gpu`, `disk_free_bytes`, `stages` and `remarks`.

    `folder` is where a run would write. A stage has `ready`, `packages` (name → version or None), `problems`
    (one line each) and `install` (the command to try, or None).
    """
    facts = machine.describe()
    own = {stage: _packages(names) for stage, names in STAGES.items()}
    problems = {stage: _problems(packages) for stage, packages in own.items()}
    problems["serve"] += _import_problems(("numpy", "onnxruntime", "tokenizers"), problems["serve"])
    stages: dict[str, Any] = {}
    for stage, needed in NEEDS.items():
        found = [line for part in needed for line in problems[part]]
        install = next((INSTALL[part] for part in reversed(needed) if problems[part]), None)
        stages[stage] = {"ready": not found, "packages": own[stage], "problems": found, "install": install}
    gpu = _gpu(importable=own["export"]["torch"] is not None)
    free = shutil.disk_usage(folder).free
    return {
        "machine": facts,
        "gpu": gpu,
        "disk_free_bytes": free,
        "stages": stages,
        "remarks": _remarks(facts, gpu, free),
    }


def _packages(names: tuple[str, ...]) -> dict[str, str | None]:
    return {name: _version(name) for name in names}


def _version(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def _problems(packages: dict[str, str | None]) -> list[str]:
    minimums = _minimums()
    lines = []
    for name, version in packages.items():
        least = minimums.get(name)
        if version is None:
            lines.append(f"{name} is missing")
        elif least and _numbers(version) < _numbers(least):
            lines.append(f"{name} {version} is older than {least}")
    return lines


def _minimums() -> dict[str, str]:
    """Least versions that svfit's own metadata asks for."""
    try:
        requirements = importlib.metadata.requires("svfit") or []
    except importlib.metadata.PackageNotFoundError:
        return {}
    found = (re.match(r"([A-Za-z0-9._-]+)\s*>=\s*([0-9.]+)", line) for line in requirements)
    return {match[1]: match[2] for match in found if match}


def _numbers(version: str) -> tuple[int, ...]:
    """The release as numbers, without trailing zeros: 2.0 and 2 are the same."""
    release = re.match(r"\d+(?:\.\d+)*", version)
    numbers = [int(part) for part in release[0].split(".")] if release else []
    while numbers and numbers[-1] == 0:
        numbers.pop()
    return tuple(numbers)


def _import_problems(names: tuple[str, ...], known: list[str]) -> list[str]:
    lines = []
    for name in names:
        if any(line.startswith(f"{name} ") for line in known):
            continue
        try:
            importlib.import_module(name)
        except Exception as error:  # a broken native library raises whatever it likes
            lines.append(f"{name} does not load: {type(error).__name__}: {error}")
    return lines


def _gpu(*, importable: bool) -> dict[str, Any]:
    """Accelerators: as torch sees them, or else as the driver does. `found` is a list of names."""
    driver = _nvidia_smi()
    if importable:
        try:
            import torch
        except Exception as error:  # as above: a broken CUDA installation must not stop the doctor
            return {"found": driver, "usable": False, "reason": f"torch does not load: {error}"}
        if torch.cuda.is_available():
            names = [torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())]
            memory = [
                torch.cuda.get_device_properties(index).total_memory for index in range(torch.cuda.device_count())
            ]
            bf16 = bool(torch.cuda.is_bf16_supported())
            return {"found": names, "usable": True, "kind": "cuda", "memory_bytes": memory, "bf16": bf16}
        if torch.backends.mps.is_available():
            return {"found": ["Apple GPU"], "usable": True, "kind": "mps"}
        reason = "this torch is built without CUDA" if driver and not torch.version.cuda else "none found"
        return {"found": driver, "usable": False, "reason": reason}
    return {"found": driver, "usable": False, "reason": "torch is missing" if driver else "none found"}


def _nvidia_smi() -> list[str]:
    program = shutil.which("nvidia-smi")
    if program is None:
        return []
    try:
        answer = subprocess.run(  # noqa: S603 - a fixed command line
            [program, "--query-gpu=name", "--format=csv,noheader"],
            capture_output=True,
            text=True,
            timeout=10,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return []
    return [line.strip() for line in answer.stdout.splitlines() if line.strip()] if answer.returncode == 0 else []


def _remarks(facts: dict[str, Any], gpu: dict[str, Any], free_disk: int) -> list[str]:
    remarks = []
    if facts["isa"] and not machine.has_int8_dot(facts["isa"]):
        remarks.append(
            "this CPU has no int8 dot product (VNNI, AMX, ARM dotprod): int8 saves memory, speed may gain little"
        )
    if gpu["found"] and not gpu["usable"]:
        remarks.append(f"{', '.join(gpu['found'])} can't be used: {gpu['reason']}")
    if free_disk < LOW_DISK:
        remarks.append(f"only {free_disk / 1e9:.1f} GB free on this disk; a run may need {LOW_DISK / 1e9:.0f} GB")
    return remarks
