"""The command line of MONAI's runner as text: paired as Fire pairs it, changed by nobody."""

from __future__ import annotations

import inspect
from pathlib import Path

import pytest
import yaml
from fire import core
from fire.inspectutils import FullArgSpec
from hypothesis import example, given, settings
from hypothesis import strategies as st
from monai.bundle import run

from mdcsrn.command_line import config_files, options, survives, text_knobs
from mdcsrn.configs import check_command_line, read_settings
from mdcsrn.errors import ConfigError

CONFIGS = Path(__file__).resolve().parents[1] / "bundles" / "mdcsrn_wgan_gp" / "configs"
# Names that a shell, Fire or MONAI could take for something else.
NAMES = [
    "a#b", "#", "a##b", "a::b", "@home", "a@b", "a@#b", "$HOME", "$5", "$x + 1", "a%b", "a%20b", "20250101", "007",
    "1e5", "0x10", "-5", "1_000", "3.0", "None", "True", "nan", "a b", " a", "a,b", "a,", "[a]", "(a)", "{a}",
    "{a: 1}", "[a", "a]", "'a'", '"a"', "'", '"', "it's", "a=b", "=a", "a&b;c|d", "~a", "*", "?", "!a", "\\a",
    "a\\nb", "a\nb", "a\tb", "größe", "日本", "🧠", "é", "a+b", "a-b", "a:b", "a.b.c", ".hidden", "...", "lambda",
    "print(1)", "import os", "a" * 200, "$import os", "a/b#c", "b'a'", "u'a'", "1,2", "a: b", "`a`", "a//b",
]  # fmt: skip
WORDS = st.sampled_from([*NAMES, "--a", "--b-c", "--a=1", "-x", "-x=2", "--noa", "run", "--", "--trace", "-5", "a", ""])


def fire_pairs(words: list[str]) -> dict[str, str]:
    spec = inspect.getfullargspec(run)
    words, _ = core.parser.SeparateFlagArgs(words)
    return core._ParseKeywordArgs(words, FullArgSpec(spec.args, None, "override", spec.defaults, [], {}, {}))[0]


@given(st.lists(WORDS, max_size=8))
@settings(max_examples=400, deadline=None)
@example(["run", "training", "--config_file", "a.yaml", "--output_dir=a=b", "--input", "x", "--flag", "--b", "-1"])
def test_words_are_paired_as_fire_pairs_them(words: list[str]) -> None:
    ours = options(words)
    theirs = fire_pairs(words)
    assert {key: value for key, value in ours.items() if value is not None} == {
        key: theirs[key] for key, value in ours.items() if value is not None
    }
    assert {key: theirs[key] for key in theirs if theirs[key] not in ("True", "False")}.items() <= ours.items()


def test_a_minus_by_itself_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"a - by itself") as caught:
        options(["run", "--output_dir", "-"])
    assert "./-" in str(caught.value.remedy)


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        ("inference", {"input", "checkpoint", "output_postfix"}),
        ("evaluate", {"datalist", "section", "checkpoint"}),
        ("train", {"datalist", "start", "cache_dir", "critic_preset"}),
    ],
)
def test_the_knobs_that_take_a_text(config: str, expected: set[str]) -> None:
    every = {"bundle_root", "dataset_dir", "output_dir", "precision"}
    assert text_knobs(yaml.safe_load((CONFIGS / f"{config}.yaml").read_text())) == expected | every


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("form", ["--output_dir={}", "--output-dir={}", "--output_dir {}"])
def test_a_name_is_taken_as_it_was_typed(name: str, form: str) -> None:
    words = [word.format(name) for word in form.split(" ")]
    assert read_settings(["run", "--config_file", str(CONFIGS / "inference.yaml"), *words])["output_dir"] == name


@pytest.mark.parametrize("text", ["@dataset_dir", "$@bundle_root + '/runs/b'", "$str(@seed)", "%start"])
def test_what_refers_to_the_configuration_is_for_monai(text: str) -> None:
    taken = read_settings(["run", "--config_file", str(CONFIGS / "train.yaml"), "--output_dir", text])
    assert "output_dir" not in taken


def test_numbers_stay_numbers() -> None:
    words = ["--voxel_steps", "10", "--device", "$torch.device('cpu')", "--train_axes", "[0, 1]"]
    taken = read_settings(["run", "--config_file", str(CONFIGS / "train.yaml"), *words])
    assert not taken.keys() & {"voxel_steps", "device", "train_axes"}


def test_files_are_texts_too(tmp_path: Path) -> None:
    """An overlay and an args_file: MONAI changes what stands there as well. The last place counts."""
    overlay, defaults = tmp_path / "over.yaml", tmp_path / "args.yaml"
    overlay.write_text("output_dir: /a#b\ncache_dir: '1e5'\nstart: null\n")
    defaults.write_text(
        f"config_file: ['{CONFIGS / 'train.yaml'}', '{overlay}']\ndatalist: list#1.json\noutput_dir: c#d\n"
    )
    taken = read_settings(["run", "training", "--args_file", str(defaults)])
    assert {key: taken.get(key) for key in ("output_dir", "cache_dir", "datalist", "start")} == {
        "output_dir": "c#d", "cache_dir": "1e5", "datalist": "list#1.json", "start": None,
    }  # fmt: skip
    assert read_settings(["run", "--args_file", str(defaults), "--output_dir", "e#f"])["output_dir"] == "e#f"
    overlay.write_text("output_dir: $'/a' + '/b'\nstart: '@home'\n")
    taken = read_settings(["run", "--config_file", f"['{CONFIGS / 'train.yaml'}', '{overlay}']"])
    assert "output_dir" not in taken, "in a file it is an expression, whatever it refers to"
    assert taken["start"] == "@home"
    defaults.write_text(f"config_file: {CONFIGS / 'train.yaml'}\noutput_dirr: x\n")
    with pytest.raises(ConfigError, match=r"unknown setting in .*args\.yaml"):
        read_settings(["run", "--args_file", str(defaults)])


@pytest.mark.parametrize("value", ["20250101", "yes", "2025-01-01", "[a]", "{a: 1}"])
def test_a_file_with_another_kind_of_value_is_refused(value: str, tmp_path: Path) -> None:
    overlay = tmp_path / "over.yaml"
    overlay.write_text(f"output_dir: {value}\n")
    with pytest.raises(ConfigError, match=r"output_dir in the config file .*over\.yaml is a text") as caught:
        read_settings(["run", "--config_file", f"['{CONFIGS / 'train.yaml'}','{overlay}']"])
    assert "in quotes" in str(caught.value.remedy)


@pytest.mark.parametrize(
    "words", [["--output_dir"], ["--output_dir", "-x"], ["--output_dir", "--seed", "1"], ["--nooutput_dir"]]
)
def test_a_knob_without_a_value_is_refused(words: list[str]) -> None:
    with pytest.raises(ConfigError, match="--output_dir has no value") as caught:
        read_settings(["run", "--config_file", str(CONFIGS / "train.yaml"), *words])
    assert "--output_dir=./-name" in str(caught.value.remedy)


def test_an_empty_place_is_refused() -> None:
    """`'' + '/checkpoints'` would be a folder at the top of the file system."""
    for key in ("output_dir", "bundle_root"):
        with pytest.raises(ConfigError, match=f"{key} in the command line is empty"):
            read_settings(["run", "--config_file", str(CONFIGS / "train.yaml"), f"--{key}="])
    read_settings(["run", "--config_file", str(CONFIGS / "train.yaml"), "--start=", "--cache_dir", ""])


def test_a_monai_that_hands_nothing_over_is_no_silent_one() -> None:
    """Called from elsewhere than MONAI's expressions, names that it would change are refused."""
    files = ["run", "--config_file", str(CONFIGS / "inference.yaml")]
    check_command_line([*files, "--output_dir", "/plain/name-1.x"])
    for name in ("/a#b", "20250101", "@x", "a::b", "None"):
        assert not survives(name)
        with pytest.raises(ConfigError, match="output_dir: this MONAI changes"):
            check_command_line([*files, "--output_dir", name])


@pytest.mark.parametrize("name", ["a,b.yaml", "[a].yaml", "it's.yaml", "a b.yaml"])
def test_a_config_file_of_any_name(name: str, tmp_path: Path) -> None:
    path = tmp_path / name
    path.write_text("a: 1\n")
    assert config_files(str(path)) == [str(path)]
    assert config_files(f"['{tmp_path / 'x.yaml'}', \"{path}\"]") == [str(tmp_path / "x.yaml"), str(path)]
