"""The `serve` image, built for real and asked: its size, what is in it, and an answer from it.

    sudo python benchmarks/image.py BUNDLE              # as root, with buildah and debootstrap: 5 minutes at first
    sudo python benchmarks/image.py BUNDLE --no-build   # the image that deploy/build.sh made before

Builds by `deploy/build.sh serve`. The server is started by the image's own entry point, command, variables and user, in
its root file system mounted read-only, without new privileges, with the bundle read-only at /bundle and fresh /state
and /tmp in memory. It must be healthy by the image's own health check, and answer as the library does outside. Anything
else ends with one line and exit code 1. Keeps benchmarks/results/image.json.
"""

from __future__ import annotations

import argparse
import json
import os
import shlex
import socket
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from small import PACKAGES, kilobytes, mb
from web import Connection, process, request

from serve.files import write_json
from serve.machine import describe
from serve.predictor import Predictor

ROOT = Path(__file__).parents[1]
IMAGE = "localhost/svfit-serve"
BASE = os.environ.get("BASE", "localhost/svfit-base")
UNWANTED_PROGRAMS = ("pip", "pip3", "cc", "gcc", "c++", "g++", "ld", "make", "cargo", "git", "curl", "wget")
UNWANTED_PACKAGES = ("pip", "setuptools", "torch", "transformers", "onnx", "huggingface_hub")
TEXT = "my card was stolen"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--no-build", action="store_true")
    options = parser.parse_args()
    started = time.perf_counter()
    if not options.no_build:
        subprocess.run([ROOT / "deploy" / "build.sh", "serve"], check=True)
    result: dict[str, Any] = {"machine": describe()}
    if not options.no_build:
        result["build_s"] = round(time.perf_counter() - started)
    with mounted(BASE) as base, mounted(IMAGE) as root:
        config = json.loads(output("buildah", "inspect", "--type", "image", IMAGE))["Docker"]["config"]
        above = size(root) - size(base)
        result |= {"mb": mb(size(root)), "base_mb": mb(size(base)), "above_base_mb": mb(above)}
        result |= contents(root)
        result |= {"user": config["User"], "labels": config["Labels"]}
        result |= asked(root, config, options.bundle.resolve())
    for key, value in result.items():
        if key != "machine":
            print(f"{key:<16}{value}")
    write_json(ROOT / "benchmarks" / "results" / "image.json", result)


def contents(root: Path) -> dict[str, Any]:
    """What stands in the image: packages and its bill of materials. SystemExit where something is that must not be."""
    told = output("chroot", str(root), "/opt/svfit/bin/python", "-c", PACKAGES)
    packages = {name: version for name, (version, _, _) in sorted(json.loads(told).items())}
    bill = json.loads((root / "opt/svfit/sbom.cdx.json").read_text("utf-8"))
    billed = {part["name"]: part["version"] for part in bill["components"]}
    if billed != packages:
        differing = sorted(set(billed.items()) ^ set(packages.items()))
        raise SystemExit(f"the bill of materials isn't what is installed: {differing}")
    folders = [folder for folder in ("bin", "usr/bin", "usr/local/bin", "opt/svfit/bin") if (root / folder).is_dir()]
    unwanted = [
        f"/{folder}/{name}" for folder in folders for name in UNWANTED_PROGRAMS if (root / folder / name).exists()
    ]
    unwanted += [name for name in UNWANTED_PACKAGES if name in packages]
    if unwanted:
        raise SystemExit(f"the image has what a server doesn't need: {', '.join(unwanted)}")
    largest = sorted(((size(path), path.name) for path in (root / "opt/svfit/lib").glob("*/*/*")), reverse=True)
    return {
        "packages": packages,
        "sbom": f"{bill['bomFormat']} {bill['specVersion']}, {len(billed)} components",
        "largest": {name: mb(taken) for taken, name in largest[:8]},
    }


def asked(root: Path, config: dict[str, Any], bundle: Path) -> dict[str, Any]:
    """Start the server in the image, ask it, stop it."""
    port = free_port()
    renamed = {"8080": str(port), "0.0.0.0": "127.0.0.1", "http://127.0.0.1:8080": f"http://127.0.0.1:{port}"}  # noqa: S104
    command = [renamed.get(part, part) for part in [*config["Entrypoint"], *config["Cmd"]]]
    probe = [renamed.get(part, part) for part in config["Healthcheck"]["Test"][1:]]
    start = time.perf_counter()
    with process(inside(root, config, bundle, [*command, "--json"])) as running:
        assert running.stdout is not None  # noqa: S101
        url = json.loads(running.stdout.readline() or "{}").get("url")
        if url is None:
            raise SystemExit("the server in the image did not start")
        connection = Connection(url)
        answer = json.loads(connection.ask(request("/v1/predict", {"text": TEXT})))["results"][0]
        took = time.perf_counter() - start
        status = dict(line.split(":\t", 1) for line in Path(f"/proc/{running.pid}/status").read_text().splitlines())
        mounts = [line.split() for line in Path(f"/proc/{running.pid}/mountinfo").read_text().splitlines()]
        healthy = subprocess.run(["chroot", "--userspec", config["User"], root, *probe], check=False).returncode
        running.terminate()
        code = running.wait(40)
    facts = {
        "uid": status["Uid"].split()[0],
        "capabilities": status["CapEff"].strip(),
        "no_new_privileges": status["NoNewPrivs"].strip(),
        "read_only_root": "ro" in next(found for found in mounts if found[4] == "/")[5].split(","),
        "health_check": healthy,
        "exit_code": code,
    }
    wanted = {"uid": config["User"].partition(":")[0], "capabilities": "0" * 16, "no_new_privileges": "1"}
    wanted |= {"read_only_root": True, "health_check": 0, "exit_code": 0}
    if facts != wanted:
        raise SystemExit(f"the server in the image ran otherwise than it must: {facts}, not {wanted}")
    (outside,) = Predictor(bundle).predict([TEXT])
    if (
        answer["label"] != outside.label or abs(answer["score"] - (outside.score or 0)) > 1e-4
    ):  # other versions of Python
        raise SystemExit(f"the image answers {answer['label']} {answer['score']}, the library {outside}")
    return {"ran": facts, "answer": f"{answer['label']} {answer['score']:.4f}", "first_answer_s": round(took, 2)} | {
        "resident_mb": mb(kilobytes(status["VmRSS"]))
    }


def inside(root: Path, config: dict[str, Any], bundle: Path, command: Sequence[str]) -> list[str]:
    """A command line that runs another in an image's root file system, as its user, as a hardened container would."""
    at = shlex.quote(str(root))
    owner = config["User"].replace(":", ",gid=")
    mounts = [
        f"mount --bind {at} {at}",
        f"mount -o remount,bind,ro {at}",
        f"mount --bind {shlex.quote(str(bundle))} {at}/bundle",
        f"mount -o remount,bind,ro {at}/bundle",
        f"mount -t tmpfs -o mode=0700,uid={owner} svfit {at}/state",
        f"mount -t tmpfs svfit {at}/tmp",  # noqa: S108 - the container's own
        f"mount -t proc proc {at}/proc",
        f"mount --bind /dev {at}/dev",
    ]
    run = ["setpriv", "--no-new-privs", "chroot", "--userspec", config["User"], "--groups", "", str(root)]
    run += ["env", "-i", *config["Env"], *command]
    return ["unshare", "--mount", "sh", "-euc", f"{'; '.join(mounts)}; exec {shlex.join(run)}"]


@contextmanager
def mounted(image: str) -> Iterator[Path]:
    """An image's files, in a working container that goes afterwards."""
    container = output("buildah", "from", image)
    try:
        yield Path(output("buildah", "mount", container))
    finally:
        output("buildah", "rm", container)


def size(path: Path) -> int:
    """Bytes of all files under a path, links and shared ones once."""
    told = output("du", "--summarize", "--apparent-size", "--block-size=1", "--one-file-system", str(path))
    return int(told.split()[0])


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as found:
        port: int = found.getsockname()[1]
        return port


def output(*command: str | Path) -> str:
    """What a command prints. SystemExit with its words where it fails."""
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"{shlex.join(map(str, command))}: {done.stderr.strip()}")
    return done.stdout.strip()


if __name__ == "__main__":
    main()
