"""The base install on ARM processors, emulated: does it install, load, answer, and answer alike?

    sudo apt-get install mmdebstrap qemu-user           # qemu 8.2 or later (Debian 13's); see --qemu
    mmdebstrap --variant=extract --architectures=arm64 --include=python3,libstdc++6 bookworm ROOT
    python benchmarks/arm.py BUNDLE --root ROOT         # 5 to 10 minutes for each processor

Wheels for aarch64 of all that deploy/serve.txt names, from the index that pip uses (no wheel: it ends there), and of
this checkout. For each processor: `svfit verify`, `svfit serve` with a row over HTTP, and then the first test texts of
banking77 through each quantized variant, compared with the answers of the machine that this runs on. An emulator
answers as the processor would, and says nothing about its speed.

Cortex-A53 (Raspberry Pi 3) has no int8 dot product, Cortex-A76 (Raspberry Pi 5) has it, `max` has i8mm too.
Keeps benchmarks/results/arm.json.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from common import texts
from rich.console import Console
from small import ROOT, ask_first, wheel
from web import process

from pipeline.cli.failure import EXIT_CODES
from serve.bundle import Bundle
from serve.files import write_json
from serve.machine import describe
from serve.predictor import Predictor

PROCESSORS = "cortex-a53,cortex-a76,max"
PLATFORMS = ("manylinux_2_28_aarch64", "manylinux_2_27_aarch64", "manylinux_2_17_aarch64", "manylinux2014_aarch64")
# Run by the emulated Python: argument 1 is the folder of packages, as an installer would have put it on the path.
START = "import json, sys; sys.path.insert(0, sys.argv.pop(1)); "
SVFIT = START + "sys.argv[0] = 'svfit'; from pipeline.cli import main; main()"
FACTS = START + "from serve.machine import describe; print(json.dumps(describe()))"
LOGITS = START + (
    "from serve.predictor import Predictor; told = Predictor(sys.argv[1], variant=sys.argv[2], threads=1); "
    "print(json.dumps(told.logits(json.loads(sys.argv[3]), batch_size=1).tolist()))"
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundle", type=Path, help="of a text classifier")
    parser.add_argument("--root", type=Path, required=True, help="folder with Debian's arm64 Python 3.11")
    parser.add_argument("--qemu", default="qemu-aarch64", help="the emulator, 8.2 or later")
    parser.add_argument("--processors", default=PROCESSORS, help="as the emulator names them")
    parser.add_argument("--texts", type=int, default=40, help="through each quantized variant")
    options = parser.parse_args()
    bundle, console = Bundle.open(options.bundle), Console(stderr=True)
    asked = texts(options.texts)
    variants = [variant.name for variant in bundle.manifest.variants if variant.precision != "fp32"]
    here = {name: Predictor(bundle, variant=name, threads=1).logits(asked, batch_size=1) for name in variants}
    result: dict[str, Any] = {"bundle": bundle.manifest.name, "machine": describe(), "texts": len(asked)}
    with tempfile.TemporaryDirectory() as folder:
        result["wheels"] = packages(Path(folder))
        result["processors"] = {}
        for processor in options.processors.split(","):
            emulated = Emulated(processor, options.qemu, options.root.resolve(), Path(folder) / "site")
            console.print(processor)
            found = measured(emulated, options.bundle, asked, here)
            result["processors"][processor] = found
            print(table(processor, found), flush=True)
    write_json(ROOT / "benchmarks" / "results" / "arm.json", result)


def packages(folder: Path) -> dict[str, str]:
    """Unpack what a device installs into folder/site; versions by name. SystemExit where there is no wheel."""
    pip, wheels = [sys.executable, "-m", "pip", "download", "-q"], folder / "wheels"
    platforms = [part for platform in PLATFORMS for part in ("--platform", platform)]
    wanted = ["--no-deps", "-c", ROOT / "constraints.txt", "-r", ROOT / "deploy" / "serve.txt"]
    python = ["--only-binary=:all:", "--python-version", "3.11", "--implementation", "cp", *platforms]
    if subprocess.run([*pip, *python, *wanted, "-d", wheels], check=False).returncode:
        raise SystemExit("a package that a device needs has no wheel for aarch64")
    found = {}
    for path in sorted([*wheels.glob("*.whl"), wheel(folder)]):
        name, version, *_, platform = path.stem.split("-")
        found[name] = f"{version} {platform}"
        with zipfile.ZipFile(path) as archive:
            archive.extractall(folder / "site")
    return found


class Emulated:
    """A processor that runs Python with the packages in a folder."""

    def __init__(self, processor: str, qemu: str, root: Path, site: Path) -> None:
        self._start = [qemu, "-cpu", processor, "-L", str(root), str(root / "usr/bin/python3"), "-I", "-c"]
        self._site = str(site)

    def command(self, code: str, *arguments: str) -> list[str]:
        return [*self._start, code, self._site, *arguments]

    def told(self, code: str, *arguments: str, codes: Sequence[int] = (0,)) -> Any:
        """What the code prints, a JSON document. SystemExit where it ends with another code."""
        done = subprocess.run(self.command(code, *arguments), check=False, stdout=subprocess.PIPE, text=True)
        if done.returncode not in codes:
            raise SystemExit(f"{' '.join(self._start[:3])}: ended with {done.returncode}")
        return json.loads(done.stdout)


def measured(
    emulated: Emulated, bundle: Path, asked: list[str], here: dict[str, npt.NDArray[np.float32]]
) -> dict[str, Any]:
    """What a processor is, its check of the bundle, that it serves, and its answers against this machine's."""
    facts = emulated.told(FACTS)
    checked = emulated.told(SVFIT, "verify", str(bundle), "--json", codes=(0, EXIT_CODES["gate"]))
    with process(emulated.command(SVFIT, "serve", str(bundle), "--port", "0", "--json", "--set", "log=none")) as server:
        ask_first(server)
    rows = {}
    for name, own in here.items():
        there = np.asarray(emulated.told(LOGITS, str(bundle), name, json.dumps(asked)), dtype=np.float32)
        rows[name] = {
            "max_abs": float(np.abs(there - own).max()),
            "same_label": float((there.argmax(-1) == own.argmax(-1)).mean()),
        }
    return {"isa": facts["isa"], "verify": checked["checks"], "passed": checked["passed"], "texts": rows}


def table(processor: str, found: dict[str, Any]) -> str:
    """Markdown: a row a variant."""
    head = "| variant | verify: largest difference | tolerance | same labels | texts: largest difference | same |"
    lines = [f"{processor} ({', '.join(found['isa'])})", "", head, "|---|---|---|---|---|---|"]
    for check in found["verify"]:
        told = found["texts"].get(check["variant"])
        own = f"{told['max_abs']:.3g} | {told['same_label']:.3f}" if told else " | "
        held = f"{check['tolerance']:.3g}" + ("" if check["passed"] else ", **not held**")
        lines.append(f"| {check['variant']} | {check['max_abs']:.2g} | {held} | {check['agreement']} | {own} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
