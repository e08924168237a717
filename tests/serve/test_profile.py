from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from tiny_bundle import make_bundle
from tiny_swap import make_swap_bundle
from tune_stage import profile_of

import serve.http.loading
import serve.runtime
from pipeline.cli import main
from serve.bundle import Bundle
from serve.config import ServeConfig, load_config
from serve.errors import InputError, UsageError
from serve.predictor import Predictor
from serve.profile import Profile, beside, chosen, find, keep
from serve.runtime import Runtime
from serve.session import session_options
from serve.settings import MOST_THREADS, Settings

LEAN = Settings(1, arena=False, mem_pattern=False, spinning=False, prepacking=False)


@pytest.fixture
def bundle(bundle_path: Path) -> Bundle:
    return Bundle.open(bundle_path)


@pytest.fixture
def profile(bundle: Bundle) -> Profile:
    return profile_of(bundle, "int8", LEAN)


def test_a_written_profile_reads_back_the_same(profile: Profile, tmp_path: Path) -> None:
    path = tmp_path / "site.device.json"
    profile.write(path)
    before = path.read_bytes()
    assert Profile.read(path) == profile
    profile.write(path)
    assert path.read_bytes() == before


def test_its_place_is_beside_the_bundle_by_the_folders_name(bundle_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wanted = bundle_path.parent / "bundle.device.json"
    assert beside(bundle_path) == wanted
    monkeypatch.chdir(bundle_path)
    assert beside(Path()) == wanted


def test_the_profile_beside_a_bundle_is_found_and_the_bundle_still_opens(bundle: Bundle, profile: Profile) -> None:
    assert find(bundle).profile is None
    assert find(bundle).remark == ""
    profile.write(beside(bundle.path))
    assert find(Bundle.open(bundle.path)).profile == profile
    assert find(bundle, "none").profile is None


def test_a_profile_holds_for_other_adapters_on_the_same_graphs_alone(tmp_path: Path) -> None:
    one = Bundle.open(make_swap_bundle(tmp_path / "one"))
    two = Bundle.open(make_swap_bundle(tmp_path / "two", (("alpha", 5), ("beta", 2))))
    other = Bundle.open(make_bundle(tmp_path / "other"))
    assert one.manifest.manifest_sha256 != two.manifest.manifest_sha256
    made = profile_of(one, "fp32", Settings(1))
    made.write(beside(one.path))
    for bundle in (two, other):
        keep(one.path, bundle)
    assert find(two).profile == made
    assert not beside(other.path).exists()
    own = profile_of(two, "fp32", LEAN)
    own.write(beside(two.path))
    keep(one.path, two)
    assert find(two).profile == own, "what was tuned there stays"


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"graphs_sha256": "0" * 64}, "made for another bundle"),
        ({"variant": "int2"}, "names variant 'int2', which the bundle doesn't have"),
        ({"settings": Settings(1024)}, "wants 1024 threads of "),
        ({"machine": {"cpu": "Cortex-A72"}}, "made elsewhere: cpu was Cortex-A72, is "),
        ({"machine": {"isa": ()}}, "isa was unknown, is "),
        ({"machine": {"cores": 4096}}, "cores was 4096, is "),
        ({"machine": {"onnxruntime": "1.0"}}, "onnxruntime was 1.0, is "),
    ],
)
def test_a_profile_of_another_bundle_or_machine_is_not_used_and_says_why(
    bundle: Bundle, profile: Profile, change: dict[str, Any], told: str
) -> None:
    if "machine" in change:
        change = {"machine": dataclasses.replace(profile.machine, **change["machine"])}
    dataclasses.replace(profile, **change).write(beside(bundle.path))
    found = find(bundle)
    assert found.profile is None
    assert told in found.remark
    assert "\n" not in found.remark
    assert find(bundle, beside(bundle.path)) == found


@pytest.mark.parametrize(
    ("key", "value", "told"),
    [
        ("format", "svfit-bundle", "is no device profile"),
        ("format_version", 2, "newer than this svfit reads"),
        ("settings", {"threads": 1}, "settings.arena: missing"),
        ("settings", {**dataclasses.asdict(LEAN), "threads": 0}, "settings.threads: must be at least 1"),
        ("settings", {**dataclasses.asdict(LEAN), "threads": 10**9}, "settings: threads must be at most"),
        ("settings", {**dataclasses.asdict(LEAN), "arena": 1}, "settings.arena: must be true or false"),
        ("settings", {**dataclasses.asdict(LEAN), "library": "x.so"}, "settings.library: unknown key"),
        ("graphs_sha256", "../x", "must be 64 lower-case hex digits"),
        ("manifest_sha256", "../x", "must be 64 lower-case hex digits"),
        ("more", 1, "more: unknown key"),
    ],
)
def test_a_wrong_profile_is_refused_where_named_and_left_where_found(
    bundle: Bundle, profile: Profile, key: str, value: Any, told: str
) -> None:
    path = beside(bundle.path)
    profile.write(path)
    path.write_text(json.dumps({**json.loads(path.read_text()), key: value}))
    with pytest.raises(InputError, match=f"profile {path}") as caught:
        find(bundle, path)
    assert told in str(caught.value)
    assert told in find(bundle).remark


def test_a_named_profile_that_is_missing_or_huge_is_an_error(bundle: Bundle, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="can't be read"):
        find(bundle, tmp_path / "other.device.json")
    (tmp_path / "huge.json").write_bytes(b" " * 2**20)
    with pytest.raises(InputError, match="larger than"):
        find(bundle, tmp_path / "huge.json")


def test_what_is_given_wins_over_the_profile(profile: Profile) -> None:
    assert chosen(profile, None, None) == ("int8", LEAN)
    assert chosen(profile, "fp32", 2) == ("fp32", dataclasses.replace(LEAN, threads=2))
    assert chosen(None, None, 2) == (None, Settings(2))


def test_runtime_and_predictor_follow_a_profile(
    bundle: Bundle, profile: Profile, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[Settings] = []
    plain = serve.runtime.MergedEngine
    monkeypatch.setattr(serve.runtime, "MergedEngine", lambda *args: (seen.append(args[3]), plain(*args))[1])
    with Runtime(bundle, profile=profile) as runtime:
        assert runtime.variant.name == "int8"
        (lean,) = runtime.predict("the pump")
    with Runtime(bundle, variant="int8", threads=1) as runtime:
        (usual,) = runtime.predict("the pump")
    assert usual.score == pytest.approx(lean.score, abs=1e-6)  # unpacked weights are added in another order
    assert seen == [LEAN, Settings(1)]
    assert Predictor(bundle, profile=profile).variant.name == "int8"
    assert Predictor(bundle, profile=profile, variant="fp32").variant.name == "fp32"


def test_predict_uses_the_profile_beside_the_bundle(bundle: Bundle, profile: Profile) -> None:
    profile.write(beside(bundle.path))

    def variant(*options: str) -> tuple[str, str]:
        result = CliRunner().invoke(main, ["predict", str(bundle.path), "the pump", "--json", *options])
        assert result.exit_code == 0, result.stderr
        return json.loads(result.stdout)["variant"], result.stderr

    assert variant() == ("int8", "")
    assert variant("--profile", "none") == ("fp32", "")
    assert variant("--variant", "fp32") == ("fp32", "")
    dataclasses.replace(profile, graphs_sha256="0" * 64).write(beside(bundle.path))
    name, told = variant()
    assert name == "fp32"
    assert "isn't used: it was made for another bundle" in told
    assert told.count("\n") == 1
    assert variant("--quiet") == ("fp32", "")


def start(bundle: Bundle, config: ServeConfig) -> None:
    runtime, scheduler = serve.http.loading.load(bundle, None, config, None)
    scheduler.close()
    runtime.close()


def test_the_server_uses_the_profile_and_its_threads_where_none_are_given(
    bundle: Bundle, profile: Profile, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    seen: list[Settings] = []
    plain = serve.runtime.MergedEngine
    monkeypatch.setattr(serve.runtime, "MergedEngine", lambda *args: (seen.append(args[3]), plain(*args))[1])
    monkeypatch.setattr(serve.http.loading, "cores", lambda: 8)
    profile.write(beside(bundle.path))
    for config in (ServeConfig(), ServeConfig(threads=2), ServeConfig(profile="none")):
        start(bundle, config)
    assert seen == [LEAN, dataclasses.replace(LEAN, threads=2), Settings(4)]
    assert not caplog.records
    dataclasses.replace(profile, graphs_sha256="0" * 64).write(beside(bundle.path))
    start(bundle, ServeConfig())
    assert "isn't used" in caplog.text


def test_a_configured_profile_is_a_path_beside_the_file_or_none(tmp_path: Path) -> None:
    path = tmp_path / "serve.toml"
    for text, wanted in (("none", "none"), ("a.device.json", tmp_path / "a.device.json")):
        path.write_text(f'[serve]\nprofile = "{text}"\n')
        assert load_config(path).profile == wanted
    path.write_text("[serve]\nprofile = 1\n")
    with pytest.raises(UsageError, match="profile: must be a path in quotes, or"):
        load_config(path)


def test_every_setting_reaches_onnxruntime() -> None:
    usual, lean = session_options(), session_options(LEAN)
    assert (usual.enable_cpu_mem_arena, usual.enable_mem_pattern, usual.intra_op_num_threads) == (True, True, 0)
    assert (lean.enable_cpu_mem_arena, lean.enable_mem_pattern, lean.intra_op_num_threads) == (False, False, 1)
    assert lean.get_session_config_entry("session.intra_op.allow_spinning") == "0"
    assert lean.get_session_config_entry("session.disable_prepacking") == "1"


def test_threads_have_bounds() -> None:
    with pytest.raises(UsageError, match="at least 1"):
        Settings(0)
    with pytest.raises(UsageError, match="at most"):
        Settings(MOST_THREADS + 1)
