"""push, pull, rollback and releases against `svfit serve --site` as a process of its own."""

from __future__ import annotations

import json
import re
import shutil
import threading
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from click.testing import CliRunner, Result
from server_process import Address, serving
from tiny_bundle import make_bundle, reseal
from tiny_swap import make_adapter, make_swap_bundle

from pipeline.cli import main
from serve.bundle import Bundle
from serve.delivery.archive import pack
from serve.delivery.keys import new_key, read_private
from serve.delivery.signature import sign
from serve.site.store import read_history

PADDING = 400_000  # bytes of a file that both releases have


@pytest.fixture(scope="module")
def bundles(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Swappable bundles: `one`, `two` with another alpha, and `wrong`, whose answers aren't those of its samples."""
    folder = tmp_path_factory.mktemp("bundles")
    made = {name: folder / name for name in ("one", "two", "wrong")}
    noise = np.random.default_rng(0).bytes(PADDING)
    make_swap_bundle(made["one"])
    make_swap_bundle(made["two"], (("alpha", 5), ("beta", 2)))
    for name in ("one", "two"):
        (made[name] / "weights-of-a-large-model.bin").write_bytes(noise)
        reseal(made[name])
    shutil.copytree(made["two"], made["wrong"])
    samples = json.loads((made["wrong"] / "samples.json").read_text())
    samples["outputs"]["fp32"][0][0] += 1.0
    (made["wrong"] / "samples.json").write_text(json.dumps(samples))
    reseal(made["wrong"])
    return made


def svfit(*arguments: object) -> Result:
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


def document(*arguments: object) -> Any:
    result = svfit(*arguments, "--json")
    assert result.exit_code == 0, result.stderr
    return json.loads(result.stdout)


def digest(bundle: Path) -> str:
    return Bundle.open(bundle).manifest.manifest_sha256


def ask(server: Address, **body: Any) -> Any:
    answer = httpx.post(f"{server.url}/v1/predict", json={"text": "the pump is leaking", **body}, timeout=20)
    assert answer.status_code == 200, answer.text
    return answer.json()["results"][0]


def test_a_release_is_pushed_as_a_few_kb_answered_with_and_rolled_back(
    bundles: dict[str, Path], tmp_path: Path
) -> None:
    site = tmp_path / "site"
    with serving(bundles["one"], "--site", str(site)) as server:
        before = ask(server, adapter="alpha")
        files = {"adapter.json", "adapter.safetensors"}
        later = make_adapter(tmp_path / "later", 11)
        parts = [(name, (later / name).read_bytes()) for name in sorted(files)]
        assert httpx.post(f"{server.url}/v1/adapters/later", files=parts).status_code == 201
        own = ask(server, adapter="later")

        sent = document("push", bundles["two"], server.url)
        assert sent["changed"]
        assert (sent["current"]["release"], sent["before"]["release"]) == (
            digest(bundles["two"]),
            digest(bundles["one"]),
        )
        assert sent["bundle_bytes"] > PADDING
        assert sent["sent_bytes"] < 20_000
        assert sent["remark"] == "1 adapter version that came later came along"
        after = ask(server, adapter="alpha")
        assert after["adapter"] == "alpha@2"
        assert after["score"] != before["score"]
        assert ask(server, adapter="later") == own

        again = document("push", bundles["two"], server.url)
        assert (again["changed"], again["sent_files"]) == (False, 0)
        listed = document("releases", server.url)
        assert listed["current"] == digest(bundles["two"])
        assert [entry["release"] for entry in listed["releases"]] == [digest(bundles["two"]), digest(bundles["one"])]
        metrics = httpx.get(f"{server.url}/metrics").text
        assert re.findall(r'svfit_release_info\{release="(\w+)"\} 1.0', metrics) == [digest(bundles["two"])]

        assert document("rollback", server.url)["current"]["release"] == digest(bundles["one"])
        assert ask(server, adapter="alpha") == before
        refused = svfit("rollback", server.url)
        assert refused.exit_code == 1
        assert "no release before this one" in refused.stderr
        assert "another process has it" in svfit("rollback", "--site", site).stderr
    with serving(bundles["two"], "--site", str(site)) as server:
        assert ask(server, adapter="alpha") == before, "what is current stays so over a restart"


@pytest.mark.parametrize("trusting", [False, True])
def test_what_fails_its_own_samples_or_is_not_signed_changes_nothing(
    bundles: dict[str, Path], tmp_path: Path, trusting: bool
) -> None:
    site, one, two = tmp_path / "site", tmp_path / "one", tmp_path / "two"
    options = ["--site", str(site)]
    shutil.copytree(bundles["one"], one)
    shutil.copytree(bundles["two"], two)
    if trusting:
        new_key(tmp_path / "key", tmp_path / "pub")
        sign(one, read_private(tmp_path / "key"))
        options += ["--trust", str(tmp_path / "pub")]
    with serving(one, *options) as server:
        before = ask(server)
        wrong = two if trusting else bundles["wrong"]
        result = svfit("push", wrong, server.url)
        assert result.exit_code == 1
        assert "isn't signed" in result.stderr if trusting else "answers differ from those stored" in result.stderr
        assert f"release {digest(one)[:12]} goes on answering" in result.stderr
        assert len(result.stderr.splitlines()) == 1
        assert ask(server) == before
        assert document("releases", server.url)["current"] == digest(one)
        assert [path.name for path in (site / "releases").iterdir()] == [digest(one)]
        assert not list((site / "incoming").iterdir())
        if trusting:
            sign(two, read_private(tmp_path / "key"))
            assert document("push", two, server.url)["changed"]


def test_an_archive_is_pushed_and_what_answers_is_pulled(bundles: dict[str, Path], tmp_path: Path) -> None:
    packed = pack(bundles["two"], tmp_path / "two.zip")
    with serving(bundles["one"], "--site", str(tmp_path / "site")) as server:
        assert document("push", packed.path, server.url, "--whole")["sent_bytes"] == packed.bytes
        pulled = document("pull", server.url, tmp_path / "pulled")
        assert pulled["release"] == packed.manifest_sha256
        assert digest(tmp_path / "pulled") == packed.manifest_sha256
        assert "is there already" in svfit("pull", server.url, tmp_path / "pulled").stderr


def test_no_request_fails_while_releases_change(bundles: dict[str, Path], tmp_path: Path) -> None:
    with serving(bundles["one"], "--site", str(tmp_path / "site"), "--set", "site_keep=2") as server:
        stop, statuses, scores = threading.Event(), list[int](), set[float]()

        def asking() -> None:
            with httpx.Client(base_url=server.url, timeout=20) as client:
                while not stop.is_set():
                    answer = client.post("/v1/predict", json={"text": ["fan", "the pump is leaking"]})
                    statuses.append(answer.status_code)
                    if answer.status_code == 200:
                        scores.add(round(answer.json()["results"][1]["score"], 4))

        threads = [threading.Thread(target=asking) for _ in range(3)]
        for thread in threads:
            thread.start()
        for name in ("two", "one", "two"):
            assert document("push", bundles[name], server.url)["changed"]
        document("rollback", server.url)
        stop.set()
        for thread in threads:
            thread.join()
        assert set(statuses) == {200}
        assert len(scores) == 2, "one score a release, whoever else was in the batch"
    assert len(read_history(tmp_path / "site").entries) == 2


def test_a_killed_server_comes_back_with_a_whole_release(bundles: dict[str, Path], tmp_path: Path) -> None:
    site, releases = tmp_path / "site", {digest(bundles[name]) for name in ("one", "two")}
    for delay in (0.05, 0.3):
        with (
            pytest.raises(AssertionError, match="the server said"),  # it doesn't end with 0
            serving(bundles["one"], "--site", str(site)) as server,
        ):
            now = read_history(site).now
            assert now is not None
            goal = next(name for name in ("one", "two") if digest(bundles[name]) != now.release)
            timer = threading.Timer(delay, server.process.kill)
            timer.start()
            svfit("push", bundles[goal], server.url)
            timer.join()
        now = read_history(site).now
        assert now is not None
        assert now.release in releases
        Bundle.open(site / "releases" / now.release)
    with serving(bundles["one"], "--site", str(site)) as server:
        assert ask(server)["label"]


def test_offline_a_site_is_listed_and_rolled_back(bundles: dict[str, Path], tmp_path: Path) -> None:
    site = tmp_path / "site"
    with serving(bundles["one"], "--site", str(site)) as server:
        document("push", bundles["two"], server.url)
    assert document("releases", "--site", site)["current"] == digest(bundles["two"])
    shown = svfit("rollback", "--site", site)
    assert shown.stdout.startswith(f"current   tiny {digest(bundles['one'])[:12]} of ")
    assert document("releases", "--site", site)["current"] == digest(bundles["one"])
    assert "no release before" in svfit("rollback", "--site", site).stderr


def test_keys_are_asked_for_and_a_server_without_a_site_says_so(
    bundles: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    keys = {"SVFIT_API_KEY": "a-key-that-asks-1", "SVFIT_ADMIN_KEY": "a-key-that-changes"}
    monkeypatch.delenv("SVFIT_ADMIN_KEY", raising=False)
    with serving(bundles["one"], environment=keys) as server:
        assert "needs an admin key" in svfit("releases", server.url).stderr
        for key, told in (("a-key-that-asks-1", "use an admin key"), ("a-key-that-changes", "has no site")):
            (tmp_path / "key").write_text(f"{key}\n")
            for command in (("releases",), ("push", bundles["two"], "--whole"), ("rollback",)):
                result = svfit(*command, server.url, "--key-file", tmp_path / "key")
                assert result.exit_code == 1
                assert told in result.stderr


def test_a_merged_bundle_takes_the_place_of_a_swappable_one(bundles: dict[str, Path], tmp_path: Path) -> None:
    merged = make_bundle(tmp_path / "merged")
    with serving(bundles["one"], "--site", str(tmp_path / "site"), "--set", "site_max_mb=1") as server:
        assert document("push", merged, server.url)["changed"]
        assert ask(server)["adapter"] == "default@1"
        (merged / "large.bin").write_bytes(np.random.default_rng(0).bytes(2**20))
        reseal(merged)
        assert "larger than 1 MB (site_max_mb)" in svfit("push", merged, server.url).stderr
        assert ask(server)["adapter"] == "default@1"
