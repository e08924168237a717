"""deploy/svfit.service under a real systemd: does the hardened unit start, answer with a key alone, and stop?

    sudo apt-get install mmdebstrap systemd-container
    sudo python benchmarks/service.py BUNDLE            # 3 minutes; --root DIR keeps the system for next time

A small Debian with systemd is made in a folder and booted in a container, with what deploy/serve.txt names and this
checkout's wheel in /opt/svfit, the bundle (of a text model) in /srv/svfit/site.bundle, keys in /etc/svfit, and the unit
as it stands in deploy/. Inside, a second unit asks the server and looks at its process. Anything that isn't as it must
be ends with one line and exit code 1. Keeps benchmarks/results/service.json.
"""

from __future__ import annotations

import argparse
import json
import secrets
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from image import output
from small import ROOT, wheel

from serve.files import write_json
from serve.machine import describe

DEBIAN = "bookworm"  # with Python 3.11
PACKAGES = "systemd,systemd-sysv,dbus,python3,python3-venv"
ENTRY = "#!/opt/svfit/bin/python3\nfrom pipeline.cli import main\nmain()\n"
WANTS = "etc/systemd/system/multi-user.target.wants"
PROBE_UNIT = """[Unit]
After=svfit.service
[Service]
Type=oneshot
ExecStart=/usr/bin/python3 /probe.py
ExecStopPost=/usr/bin/systemctl poweroff --no-block
"""
# Runs inside, with the standard library alone.
PROBE = """
import json, pathlib, subprocess, time, urllib.error, urllib.request
def told(*command):
    return subprocess.run(command, capture_output=True, text=True).stdout.strip()
def ask(key):
    head = {"content-type": "application/json"} | ({"x-api-key": key} if key else {})
    url, body = "http://127.0.0.1:8080/v1/predict", json.dumps({"text": "my card was stolen"}).encode()
    plain = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with plain.open(urllib.request.Request(url, body, head)) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as error:
        return error.code, None
    except OSError:
        return 0, None
key = pathlib.Path("/etc/svfit/api_keys").read_text().strip()
found, start = {}, time.monotonic()
while ask(key)[0] != 200 and time.monotonic() - start < 60:
    time.sleep(0.5)
found["with_key"], found["answer"] = ask(key)
found["without_key"] = ask(None)[0]
process = told("systemctl", "show", "-P", "MainPID", "svfit")
status = dict(line.split(":", 1) for line in pathlib.Path(f"/proc/{process}/status").read_text().splitlines())
found |= {name: status[name].split()[0] for name in ("Uid", "CapEff", "NoNewPrivs", "Seccomp", "VmRSS")}
found["state"] = oct(pathlib.Path("/var/lib/private/svfit").stat().st_mode & 0o777)
found["security"] = told("systemd-analyze", "security", "--no-pager", "svfit").splitlines()[-1]
subprocess.run(["systemctl", "stop", "svfit"])
found["result"] = told("systemctl", "show", "-P", "Result", "svfit")
found["log"] = told("journalctl", "-b", "-u", "svfit", "--no-pager", "-o", "cat").splitlines()
pathlib.Path("/probe.json").write_text(json.dumps(found))
"""
WANTED = {
    "with_key": 200,
    "without_key": 401,
    "CapEff": "0" * 16,
    "NoNewPrivs": "1",
    "Seccomp": "2",
    "state": "0o700",
    "result": "success",
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundle", type=Path, help="of a text model")
    parser.add_argument("--root", type=Path, help="where the system is made, or was before")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        root = (options.root or Path(folder) / "root").resolve()
        if not (root / "usr/bin/systemctl").exists():
            output("mmdebstrap", "--quiet", "--variant=minbase", f"--include={PACKAGES}", DEBIAN, root)
        install(root, Path(folder))
        place(root, options.bundle)
        found = booted(root)
    wrong = {key: found[key] for key, value in WANTED.items() if found[key] != value}
    if wrong or found["Uid"] == "0":
        raise SystemExit(f"the service ran otherwise than it must: {wrong or 'as root'}; it said: {found['log']}")
    result: dict[str, Any] = {
        "machine": describe(),
        "system": output("chroot", root, "systemctl", "--version").split("\n")[0],
    }
    result |= {key: value for key, value in found.items() if key != "log"}
    for key, value in result.items():
        print(f"{key:<12}{value}")
    write_json(ROOT / "benchmarks" / "results" / "service.json", result)


def install(root: Path, folder: Path) -> None:
    """What a server needs into /opt/svfit, from wheels for the system's Python."""
    shutil.rmtree(root / "opt/svfit", ignore_errors=True)
    output("chroot", root, "python3", "-m", "venv", "--without-pip", "/opt/svfit")
    listed = ["-c", ROOT / "constraints.txt", "-r", ROOT / "deploy/serve.txt", wheel(folder)]
    target = ["--target", root / "opt/svfit/lib/python3.11/site-packages", "--python-version", "3.11"]
    output(sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--only-binary", ":all:", *target, *listed)
    (root / "opt/svfit/bin/svfit").write_text(ENTRY)
    (root / "opt/svfit/bin/svfit").chmod(0o755)


def place(root: Path, bundle: Path) -> None:
    """The bundle, keys, the unit as it is in deploy/, and the probe."""
    site, keys = root / "srv/svfit/site.bundle", root / "etc/svfit"
    shutil.rmtree(site, ignore_errors=True)
    shutil.copytree(bundle, site)
    output("chmod", "-R", "a+rX", root / "srv/svfit")
    keys.mkdir(exist_ok=True)
    for name in ("api_keys", "admin_keys"):
        (keys / name).write_text(secrets.token_hex(16) + "\n")
        (keys / name).chmod(0o600)
    (root / "probe.py").write_text(PROBE)
    (root / "probe.json").unlink(missing_ok=True)
    units = {"svfit": (ROOT / "deploy/svfit.service").read_text("utf-8"), "probe": PROBE_UNIT}
    (root / WANTS).mkdir(parents=True, exist_ok=True)
    for name, text in units.items():
        unit = root / "etc/systemd/system" / f"{name}.service"
        unit.write_text(text)
        link = root / WANTS / unit.name
        link.unlink(missing_ok=True)
        link.symlink_to(f"/etc/systemd/system/{unit.name}")


def booted(root: Path) -> dict[str, Any]:
    """Boot the system, wait until it has turned itself off; what the probe found."""
    # systemd-nspawn clears this folder, and refuses to where it lies on a disk
    own = "mkdir -p /run/systemd/nspawn && mount -t tmpfs svfit /run/systemd/nspawn && exec "
    boot = f"systemd-nspawn --quiet --register=no --keep-unit --boot -D '{root}'"
    done = subprocess.run(
        ["unshare", "--mount", "sh", "-euc", own + boot], check=False, capture_output=True, text=True, timeout=300
    )
    if not (root / "probe.json").exists():
        raise SystemExit(f"the system did not come up: {(done.stdout + done.stderr)[-500:]}")
    found: dict[str, Any] = json.loads((root / "probe.json").read_text("utf-8"))
    return found


if __name__ == "__main__":
    main()
