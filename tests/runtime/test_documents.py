"""Documents of strangers: one short error each, before anything large is built."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from parafovea.config import read_project, read_settings
from parafovea.config.sheet import read_sheet
from parafovea.errors import ConfigError, ModelError, describe
from parafovea.models.model_json import read_spec
from parafovea.runtime.documents import json_values, read_text, yaml_values


def anchors(levels: int, body: str) -> str:
    """Return YAML whose every line refers ten times to the one before."""
    lines = [f"a0: &a0 {body.format('x')}"]
    for level in range(1, levels):
        inside = ", ".join([f"*a{level - 1}"] * 10)
        lines.append(f"a{level}: &a{level} {body.format(inside)}")
    return "\n".join(lines)


DOCUMENTS = {
    "lists of lists": (anchors(12, "[{}]"), r"line \d+: anchors repeat .* more than 100000 values"),
    "merged mappings": (
        "a0: &a0 {k: 1}\n" + anchors(12, "{{<<: [{}]}}").split("\n", 1)[1],
        "anchors repeat",
    ),
    "an anchor in itself": ("tasks: &a [*a]", "line 1: an anchor contains itself"),
    "brackets": ("[" * 100_000, "line 1 is nested more than 64 times"),
    "dashes": ("- " * 5000 + "a", "line 1 is nested more than 64 times"),
    "many values": ("a: [" + "1," * 150_000 + "]", "more than 100000 values"),
    "a key twice": ("tasks:\n  a: 1\n  b: 2\n  a: 3\n", "line 4: key 'a' is already on line 2"),
    "a long key twice": (
        "? " + "k" * 900 + "\n: 1\n? " + "k" * 900 + "\n: 2",
        "… is already on line 1",
    ),
    "5000 digits": ("a: " + "9" * 5000, "is not YAML: Exceeds the limit"),
    "a date": ("a: 2020-99-99", "is not YAML: month must be in"),
    "an object": ("!!python/object/apply:os.system [ls]", "line 1: could not determine"),
    "a control character": ("a: \x1b[2J", "control characters are not allowed"),
    "two documents": ("--- a\n--- b", "line 2: but found another document"),
}


@pytest.mark.parametrize("case", list(DOCUMENTS))
def test_yaml_that_grows_or_repeats_is_one_short_error(case: str) -> None:
    text, message = DOCUMENTS[case]
    with pytest.raises(ConfigError, match=rf"(?s)^a\.yaml.*{message}") as caught:
        yaml_values(text, "a.yaml")
    assert len(describe(caught.value)) < 600
    assert "\x1b" not in describe(caught.value)


def test_anchors_that_repeat_little_are_what_they_name() -> None:
    text = "base: &base {engine: torch, tta: []}\none: *base\ntwo: {<<: *base, engine: auto}"
    found = yaml_values(text, "a.yaml")
    assert found["one"] == {"engine": "torch", "tta": []}
    assert found["two"] == {"engine": "auto", "tta": []}


def test_json_with_a_key_twice_or_too_deep_is_refused() -> None:
    with pytest.raises(ModelError, match="key 'a' is there twice"):
        json_values('{"b": {"a": 1, "a": 2}}', "model.json", error=ModelError)
    with pytest.raises(ConfigError, match="nested too deeply"):
        json_values("[" * 200_000, "a.json")


@pytest.mark.parametrize("reader", [read_settings, read_sheet, read_project])
def test_a_config_or_sheet_that_is_no_small_text_is_one_error(tmp_path: Path, reader) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    large = tmp_path / "large"
    large.touch()
    os.truncate(large, 500 << 20)
    binary = tmp_path / "binary"
    binary.write_bytes(bytes(range(256)) * 20)
    for path, message in (
        (folder, "folder is a folder, not a"),
        (pipe, "pipe is a device or a pipe, not a"),
        (large, "large has 524288000 bytes, but a .* has at most"),
        (binary, "binary is not UTF-8 text"),
    ):
        with pytest.raises(ConfigError, match=message) as caught:
            reader(path)
        assert len(describe(caught.value)) < 400


def test_a_sheet_of_millions_of_lines_is_refused(tmp_path: Path) -> None:
    (tmp_path / "s.tsv").write_text("sample\ttask\tsource\n" + "\n" * 300_000)
    with pytest.raises(ConfigError, match="more than 200000 lines"):
        read_sheet(tmp_path / "s.tsv")


def test_a_file_that_may_not_be_read_says_so(tmp_path: Path, monkeypatch) -> None:
    (tmp_path / "a").write_text("a")

    def denied(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "open", denied)
    with pytest.raises(ConfigError, match=r"cannot be read \(Permission denied\): check its perm"):
        read_text(tmp_path / "a", "a config")


def test_the_text_of_a_file_in_a_message_is_cut_and_escaped(tmp_path: Path) -> None:
    wild = "x\x1b[31m" + "y" * 5000
    for values in ({"samples": [wild]}, {wild: 1}, {"tasks": {"a": {"kind": wild}}}):
        path = tmp_path / "c.yaml"
        path.write_text(json.dumps(values))
        with pytest.raises(ConfigError) as caught:
            read_settings(path)
        text = describe(caught.value)
        assert "\x1b" not in text
        assert len(text) < 1500
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "model.json").write_text(json.dumps({wild: 1, "name": wild, "kind": wild}))
    with pytest.raises(ModelError) as error:
        read_spec(folder)
    assert "\x1b" not in describe(error.value)
    assert len(describe(error.value)) < 2500
