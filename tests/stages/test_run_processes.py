"""Two processes train one adapter, as `accelerate launch` and `torchrun` start them; one writes."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from tiny_task import write_task

pytestmark = pytest.mark.real  # slow: every process imports torch


def test_two_processes_train_and_one_goes_on_to_the_bundle(tmp_path: Path, base: Path) -> None:
    config = write_task(tmp_path, base)
    command = shutil.which("svfit", path=str(Path(sys.executable).parent))
    assert command is not None
    launch = [sys.executable, "-m", "torch.distributed.run", "--nproc_per_node", "2", "--master_port", "29617", command]
    environment = os.environ | {"ACCELERATE_USE_CPU": "true", "OMP_NUM_THREADS": "1"}
    for command_line in (["finetune"], ["run", "--json"]):
        done = subprocess.run(
            [*launch, *command_line, str(config), "--output", str(tmp_path / "run")],
            capture_output=True,
            text=True,
            timeout=300,
            env=environment,
        )
        assert done.returncode == 0, done.stderr
        assert "Warning" not in done.stderr, done.stderr
    report = json.loads(done.stdout)
    assert "finetune: done before, kept" in done.stderr
    assert report["training"]["steps"] == 12 * 5  # 160 rows by 2 × 16
    assert sorted(path.name for path in (tmp_path / "run" / "adapter").iterdir()) == [
        "adapter.json",
        "adapter.safetensors",
        "data.json",
        "training.json",
    ]
