from __future__ import annotations

from pathlib import Path

import pytest

from chatgpt2.errors import ConfigError
from chatgpt2.surgery.place import fresh_folder


def fill(folder: Path, **options: bool | Path) -> None:
    with fresh_folder(folder, **options) as draft:  # type: ignore[arg-type]
        (draft / "config.json").write_text("new")
        assert not (folder / "config.json").exists() or (folder / "config.json").read_text() == "old"


def test_a_folder_appears_whole(tmp_path: Path) -> None:
    fill(tmp_path / "new" / "model")
    assert [path.name for path in (tmp_path / "new").rglob("*")] == ["model", "config.json"]
    (tmp_path / "empty").mkdir()
    fill(tmp_path / "empty")


def test_nothing_is_left_of_one_that_failed(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="disk"), fresh_folder(tmp_path / "model") as draft:
        (draft / "half").touch()
        raise RuntimeError("disk")
    assert not list(tmp_path.iterdir())


def test_force_replaces_a_model_and_nothing_else(tmp_path: Path) -> None:
    old = tmp_path / "model"
    old.mkdir()
    (old / "config.json").write_text("old")
    with pytest.raises(ConfigError, match="overwrite with --force"):
        fill(old)
    with pytest.raises(ConfigError, match="is the model itself"):
        fill(old, force=True, source=old)
    assert (old / "config.json").read_text() == "old"
    fill(old, force=True)
    assert (old / "config.json").read_text() == "new"
    assert [path.name for path in tmp_path.iterdir()] == ["model"]
    (tmp_path / "letters").mkdir()
    (tmp_path / "letters" / "mother.txt").touch()
    with pytest.raises(ConfigError, match="something else than a model"):
        fill(tmp_path / "letters", force=True)
    (tmp_path / "file").touch()
    with pytest.raises(ConfigError, match="is a file"):
        fill(tmp_path / "file", force=True)


def test_force_keeps_the_old_one_when_the_new_one_fails(tmp_path: Path) -> None:
    fill(tmp_path / "model")
    with pytest.raises(RuntimeError), fresh_folder(tmp_path / "model", force=True):
        raise RuntimeError
    assert (tmp_path / "model" / "config.json").read_text() == "new"
