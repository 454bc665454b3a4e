"""Find the dialogue files of folders, and pass over what is none, saying so."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Iterator
from importlib.util import find_spec
from pathlib import Path

from chatgpt2.corpus.detect import detect_format, looks_like_prose
from chatgpt2.corpus.source import take_sample
from chatgpt2.errors import CorpusError

OnSkip = Callable[[Path, str], None]

_ABOUT = ("readme", "licen[cs]e", "copying", "notice", "changelog", "authors", "citation", "dataset_infos?")
_PROSE_NAME = re.compile(f"({'|'.join(_ABOUT)})(?![a-z])", re.IGNORECASE)
_NOT_DIALOGUES = {
    **dict.fromkeys((".md", ".markdown", ".rst", ".html", ".htm", ".tex", ".bib"), "prose"),
    **dict.fromkeys(
        (".py", ".ipynb", ".sh", ".bat", ".js", ".css", ".sql", ".toml", ".yaml", ".yml", ".ini"), "code"
    ),
}


def corpus_files(
    paths: Iterable[Path | str], on_skip: OnSkip | None = None, format: str | None = None
) -> list[Path]:
    """The files to read: the given ones as they are, and the dialogue files under given folders.

    Inside a folder a README, other prose, code and files that are not text are passed over and told
    to `on_skip(path, why)`; hidden files are passed over silently. No file comes twice.
    """
    found: dict[Path, Path] = {}
    for path in map(Path, paths):
        if not path.exists():
            raise CorpusError(path, None, "no such file or folder; check the path")
        for file in _under(path, on_skip, format) if path.is_dir() else [path]:
            found.setdefault(file.resolve(), file)
    return list(found.values())


def bundled_corpus() -> Path:
    """The folder of the Chinese dialogues that come with this package."""
    spec = find_spec("chatgpt2.corpus.bundled")
    if spec is None or not spec.submodule_search_locations:
        raise CorpusError("chatgpt2.corpus.bundled", None, "is missing; install chatgpt2 again")
    return Path(next(iter(spec.submodule_search_locations)))


def bare_suffix(path: Path) -> str:
    """The lower-case suffix, that of the packed file for .gz."""
    return Path(path.stem if path.suffix.lower() == ".gz" else path.name).suffix.lower()


def _under(folder: Path, on_skip: OnSkip | None, format: str | None) -> Iterator[Path]:
    for path in sorted(_walk(folder)):
        reason = _unfit(path, format)
        if reason is None:
            yield path
        elif on_skip is not None:
            on_skip(path, reason)


def _walk(folder: Path) -> Iterator[Path]:
    def refuse(error: OSError) -> None:
        raise CorpusError(folder, None, f"cannot be read ({error.strerror}); check its rights") from error

    for root, folders, names in os.walk(folder, onerror=refuse):
        folders[:] = [name for name in folders if not name.startswith((".", "__"))]
        for name in names:
            if not name.startswith((".", "__", "~$")) and (Path(root) / name).is_file():
                yield Path(root) / name


def _unfit(path: Path, format: str | None) -> str | None:
    """Why a file found in a folder is no corpus; None: it is one."""
    if _PROSE_NAME.match(path.name):
        return "it is about the corpus, not part of it"
    if kind := _NOT_DIALOGUES.get(bare_suffix(path)):
        return f"it is {kind}"
    sample = take_sample(path)
    if sample.encoding is None:
        return "it is not text"
    text = sample.text
    if not text.strip():
        return "it is empty"
    if (
        format is None
        and detect_format(text, sample.complete, bare_suffix(path)) == "text"
        and looks_like_prose(text)
    ):
        return "it looks like prose; name the file itself to read it all the same"
    return None
