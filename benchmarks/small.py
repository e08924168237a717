"""What the base install costs a device: disk, time to the first answer, memory.

    python benchmarks/small.py BUNDLE                # builds the wheel, installs it into a fresh environment: 5 minutes
    python benchmarks/small.py BUNDLE --python ENV/bin/python   # an environment that has the wheel already

- installed: bytes of all files of all packages but pip and setuptools, compiled modules too (aim: 200 MB); the same for
  the packages of deploy/serve.txt, which is what the image holds
- first answer: from starting `svfit predict` to its end, from starting `svfit serve` to the first answer over HTTP;
  wall and CPU seconds, the page cache warm (aim: 1 s). On a busy machine the CPU seconds are the ones to read
- memory: resident MB of a process at rest after its first answer (aim: 150 MB with int8), under load (16 rows a
  request, 4 connections), and its peak; of `svfit serve`, and of the library alone

MB are millions of bytes. Keeps benchmarks/results/small-BUNDLE.json, nothing with --quick (3 rounds, 3 s of load).
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from common import texts
from web import Connection, load, process, request

from serve.bundle import Bundle
from serve.files import write_json
from serve.machine import describe

ROOT = Path(__file__).parents[1]
VARIANTS = ("fp32", "int8")
INSTALLER = ("pip", "setuptools")
PACKAGES = """
import importlib.metadata, json, os
found = {}
for one in importlib.metadata.distributions():
    there = [one.locate_file(file) for file in one.files or []]
    sizes = {str(path): os.stat(path).st_size for path in there if os.path.exists(path)}
    compiled = sum(size for path, size in sizes.items() if path.endswith(".pyc"))
    found[one.metadata["Name"]] = [one.version, sum(sizes.values()), compiled]
print(json.dumps(found))
"""
LIBRARY = """
import json, sys
from serve.predictor import Predictor
told = Predictor(sys.argv[1], variant=sys.argv[2])
told.predict(["my card was stolen"])
print(json.dumps(dict(line.split(":", 1) for line in open("/proc/self/status") if line.startswith("Vm"))))
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--python", type=Path, help="of an environment that has the wheel, instead of a fresh one")
    parser.add_argument("--variant", action="append", help="which to measure (default: fp32 and int8)")
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--seconds", type=float, default=20.0, help="of load")
    parser.add_argument("--quick", action="store_true", help="3 rounds, 3 seconds of load; keeps nothing")
    options = parser.parse_args()
    if options.quick:
        options.rounds, options.seconds = 3, 3.0
    with tempfile.TemporaryDirectory() as folder:
        python = options.python or fresh(Path(folder))
        result: dict[str, Any] = {"machine": describe(), "installed": installed(python)}
        tell("installed", result["installed"])
        for variant in options.variant or VARIANTS:
            result[variant] = measured(python, options.bundle, variant, options.rounds, options.seconds)
            tell(variant, result[variant])
    if not options.quick:
        name = Bundle.open(options.bundle, check=False).manifest.name
        write_json(ROOT / "benchmarks" / "results" / f"small-{name}.json", result)


def wheel(folder: Path) -> Path:
    """This tree's wheel, made in `folder` of a copy of the tree's own files, so that nothing is left here."""
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, check=True, capture_output=True, text=True).stdout
    for name in filter(None, listed.split("\0")):
        if (ROOT / name).is_file():
            (folder / "source" / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / "source" / name).write_bytes((ROOT / name).read_bytes())
    command = [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "-w", folder, folder / "source"]
    subprocess.run(command, check=True)
    (made,) = folder.glob("svfit-*.whl")
    return made


def fresh(folder: Path) -> Path:
    """The python of a new environment with the wheel of this tree and its base dependencies, at pinned versions."""
    subprocess.run([sys.executable, "-m", "venv", folder / "env"], check=True)
    python = folder / "env" / "bin" / "python"
    subprocess.run([python, "-m", "pip", "install", "-q", "-c", ROOT / "constraints.txt", wheel(folder)], check=True)
    return python


def installed(python: Path) -> dict[str, Any]:
    """Disk that the environment's packages take, in MB."""
    told = subprocess.run([python, "-c", PACKAGES], check=True, capture_output=True, text=True, cwd="/").stdout
    found = {name: value for name, value in json.loads(told).items() if name not in INSTALLER}
    lines = (ROOT / "deploy" / "serve.txt").read_text("utf-8").splitlines()
    needed = {plain(line) for line in lines if line and not line.startswith("#")} | {"svfit"}
    largest = sorted(found.items(), key=lambda item: -item[1][1])
    spare = {name: mb(size) for name, (_, size, _) in largest if plain(name) not in needed}
    return {
        "mb": mb(sum(size for _, size, _ in found.values())),
        "of_it_compiled_mb": mb(sum(compiled for _, _, compiled in found.values())),
        "packages": len(found),
        "serve_txt_mb": mb(sum(size for name, (_, size, _) in found.items() if plain(name) in needed)),
        "largest": {name: mb(size) for name, (_, size, _) in largest[:8]},
        "not_in_serve_txt": spare,
        "versions": {name: version for name, (version, _, _) in sorted(found.items())},
    }


def measured(python: Path, bundle: Path, variant: str, rounds: int, seconds: float) -> dict[str, Any]:
    """First answers and memory with one variant."""
    svfit = str(python.with_name("svfit"))
    predict = [svfit, "predict", str(bundle), "my card was stolen", "--json", "--variant", variant]
    serve = [svfit, "serve", str(bundle), "--port", "0", "--json", "--set", "log=none", "--variant", variant]
    once(predict)  # the page cache
    command, server = [once(predict) for _ in range(rounds)], [first_answer(serve) for _ in range(rounds)]
    library = subprocess.run(
        [python, "-c", LIBRARY, bundle, variant], check=True, capture_output=True, text=True, env=environment()
    )
    status = json.loads(library.stdout)
    return {
        "predict": spread(command),
        "serve": spread(server),
        "memory_mb": {
            "predict_peak": mb(statistics.median(peak for *_, peak in command)),
            "library": mb(kilobytes(status["VmRSS"])),
            **under_load(serve, seconds),
        },
    }


def once(command: Sequence[str]) -> tuple[float, float, int]:
    """Wall and CPU seconds of a command, and its peak in bytes."""
    start = time.perf_counter()
    running = subprocess.Popen(command, stdout=subprocess.DEVNULL, env=environment())
    _, code, used = os.wait4(running.pid, 0)
    took = time.perf_counter() - start
    running.returncode = os.waitstatus_to_exitcode(code)
    if running.returncode:
        raise SystemExit(f"{' '.join(command)} failed")
    return took, used.ru_utime + used.ru_stime, used.ru_maxrss * 1024


def first_answer(command: Sequence[str]) -> tuple[float, float]:
    """Wall and CPU seconds from starting a server to its first answer."""
    start = time.perf_counter()
    with process(command, environment()) as running:
        ask_first(running)
        took = time.perf_counter() - start
        ticks = Path(f"/proc/{running.pid}/stat").read_text().rpartition(")")[2].split()[11:13]
        return took, sum(map(int, ticks)) / os.sysconf("SC_CLK_TCK")


def under_load(command: Sequence[str], seconds: float) -> dict[str, float]:
    """Resident MB of a server after its first answer, after `seconds` of load, and at most."""
    asked = texts(160)
    wires = [request("/v1/predict", {"text": asked[place : place + 16]}) for place in range(0, 160, 16)]
    with process(command, environment()) as running:
        url = ask_first(running)
        time.sleep(1)
        rest = resident(running.pid)["VmRSS"]
        load(url, wires, 16, 4, seconds)
        after = resident(running.pid)
    return {"serve_at_rest": mb(rest), "serve_after_load": mb(after["VmRSS"]), "serve_peak": mb(after["VmHWM"])}


def ask_first(running: subprocess.Popen[str]) -> str:
    """Wait for a server, and for its first answer; its address."""
    assert running.stdout is not None  # noqa: S101
    line = running.stdout.readline()
    if not line:
        raise SystemExit("svfit serve did not start")
    url: str = json.loads(line)["url"]
    connection = Connection(url)
    connection.ask(request("/v1/predict", {"text": "my card was stolen"}))
    connection.close()
    return url


def resident(process: int) -> dict[str, int]:
    """Bytes by the names that /proc gives them: VmRSS now, VmHWM at most."""
    lines = Path(f"/proc/{process}/status").read_text().splitlines()
    return {line.partition(":")[0]: kilobytes(line.partition(":")[2]) for line in lines if line.startswith("Vm")}


def environment() -> dict[str, str]:
    """As a person's shell has it, without what this script or its caller set for Python."""
    return {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "OMP_", "VIRTUAL_"))}


def spread(found: Sequence[Sequence[float]]) -> dict[str, float]:
    wall, cpu = [one[0] for one in found], [one[1] for one in found]
    return {
        "wall_s": round(statistics.median(wall), 3),
        "wall_s_least": round(min(wall), 3),
        "cpu_s": round(statistics.median(cpu), 3),
        "cpu_s_least": round(min(cpu), 3),
    }


def kilobytes(text: str) -> int:
    """Bytes of "1234 kB"."""
    return int(text.split()[0]) * 1024


def plain(name: str) -> str:
    return name.strip().lower().replace("_", "-")


def mb(size: float) -> float:
    return round(size / 1e6, 1)


def tell(title: str, part: dict[str, Any]) -> None:
    for key, value in part.items():
        if key != "versions":
            print(f"{title:<12}{key:<20}{value}", flush=True)


if __name__ == "__main__":
    main()
