"""Machine facts, read from what kernels write."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import ClassVar

import pytest

from serve import machine

X86 = "model\t\t: 106\nmodel name\t: Intel(R) Xeon(R) Platinum 8375C\nflags\t\t: fpu avx2 avx512f avx512_vnni\n"
PI = "processor\t: 0\nFeatures\t: fp asimd asimddp\nCPU part\t: 0xd0b\n\nModel\t\t: Raspberry Pi 5 Model B Rev 1.0\n"


def test_facts_are_plain_json_with_every_key() -> None:
    facts = machine.describe()
    assert list(facts) == ["cpu", "isa", "cores", "memory_bytes", "free_memory_bytes", "os", "python"]
    assert json.loads(json.dumps(facts)) == facts
    assert facts["cores"] >= 1
    assert facts["cpu"]


@pytest.mark.parametrize(
    ("text", "cpu", "isa", "dot"),
    [
        (X86, "Intel(R) Xeon(R) Platinum 8375C", ["avx2", "avx512f", "avx512_vnni"], True),
        (PI, "Raspberry Pi 5 Model B Rev 1.0", ["neon", "asimddp"], True),
        ("model name\t: Old\nflags\t\t: sse2 avx\n", "Old", [], False),
    ],
)
def test_cpu_and_instruction_sets_are_read(text: str, cpu: str, isa: list[str], dot: bool) -> None:
    assert machine.cpu_model(text) == cpu
    assert machine.instruction_sets(text) == isa
    assert machine.has_int8_dot(isa) is dot


def test_macos_answers_through_sysctl(monkeypatch: pytest.MonkeyPatch) -> None:
    answers = {
        "hw.optional.neon": "1",
        "hw.optional.arm.FEAT_DotProd": "1",
        "hw.optional.avx2_0": "0",
        "machdep.cpu.brand_string": "Apple M2",
        "hw.memsize": "17179869184",
    }
    monkeypatch.setattr(machine, "read_text", lambda _: "")
    monkeypatch.setattr(machine, "_sysctl", lambda keys: {key: answers[key] for key in keys if key in answers})
    assert machine.instruction_sets() == ["neon", "asimddp"]
    assert machine.cpu_model() == "Apple M2"
    assert machine.memory() == (17179869184, None)


def test_a_containers_limits_count(monkeypatch: pytest.MonkeyPatch) -> None:
    files = {
        "/proc/meminfo": "MemTotal:       8000000 kB\nMemFree: 1 kB\nMemAvailable:    6000000 kB\n",
        "/sys/fs/cgroup/memory.max": "1073741824\n",
        "/sys/fs/cgroup/memory.current": "73741824\n",
        "/sys/fs/cgroup/cpu.max": "50000 100000\n",
    }
    monkeypatch.setattr(machine, "read_text", lambda path: files.get(path, ""))
    assert machine.memory() == (1073741824, 1000000000)
    assert machine.cores() == 1
    files["/sys/fs/cgroup/memory.max"] = "max\n"
    assert machine.memory() == (8000000 * 1024, 6000000 * 1024)


def test_a_machine_that_tells_nothing_is_described_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "read_text", lambda _: "")
    monkeypatch.setattr(machine, "_sysctl", lambda _: {})
    facts = machine.describe()
    assert (facts["isa"], facts["memory_bytes"], facts["free_memory_bytes"]) == ([], None, None)
    assert facts["cpu"]


def test_it_needs_the_standard_library_only() -> None:
    code = "import sys; import serve.machine as m; m.describe(); print('numpy' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"


@pytest.mark.skipif(sys.platform != "linux", reason="only glibc keeps what is freed")
def test_freed_memory_goes_back_where_the_c_library_can_do_that(monkeypatch: pytest.MonkeyPatch) -> None:
    import ctypes

    class Trims:
        asked: ClassVar[list[int]] = []

        def malloc_trim(self, pad: int) -> int:
            self.asked.append(pad)
            return 1

    monkeypatch.setattr(ctypes, "CDLL", lambda _: Trims())
    machine.give_back_memory()
    monkeypatch.setattr(ctypes, "CDLL", lambda _: object())  # musl
    machine.give_back_memory()
    assert Trims.asked == [0]
