"""`evaluate`: from a model and held-out files to an `Evaluation`."""

from __future__ import annotations

import asyncio
import dataclasses
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal, Protocol

from chatgpt2.assessment.kind import Kind, learned, require
from chatgpt2.assessment.likelihood import Losses, losses
from chatgpt2.assessment.replies import Prompt, choose_prompts, people_figures, reply_figures
from chatgpt2.assessment.result import Data, Evaluation, Said, held_out_figures
from chatgpt2.assessment.texts import stream_losses
from chatgpt2.checkpoint import AnyCheckpoint, Checkpoint, load_any
from chatgpt2.codec import Codec, Learn
from chatgpt2.corpus import corpus_files, read_corpus
from chatgpt2.corpus.texts import Shape, TextSource, text_files
from chatgpt2.device import choose_device
from chatgpt2.dialogue import Dialogue
from chatgpt2.engine.base import EngineOptions, SamplingParams
from chatgpt2.errors import ConfigError, CorpusError
from chatgpt2.evaluation import generate_replies
from chatgpt2.loading import open_model
from chatgpt2.serving import Serving
from chatgpt2.textcodec import TextCodec
from chatgpt2.tokenizer import with_specials
from chatgpt2.tokens import TokenFile, tokenise
from chatgpt2.training.textdata import Part, tokenise_part

_SHOWN = 6  # prompts with their replies that the card shows


@dataclass(frozen=True, slots=True)
class Options:
    """How to evaluate.

    kind      dialogues, stream (running text), lines or records (each text by itself, see corpus.texts), or auto:
              what the model has learned
    field     of texts, where in a record the text is: a column's name, or a number from 1 on
    clean     of texts: tidied as a run with --clean does it
    replies   prompts to answer, 0: none; only of dialogues
    learn     which turns count: all, or the bot's only
    seed      chooses the prompts, draws the replies and the resamples
    sampling  settings of SamplingParams over those of the model's card
    """

    kind: Kind | Literal["auto"] = "auto"
    replies: int = 200
    learn: Learn = "all"
    seed: int = 0
    format: str | None = None
    field: str | None = None
    clean: bool = False
    skip_bad: bool = False
    sampling: dict[str, Any] = dataclasses.field(default_factory=dict)
    engine: EngineOptions = dataclasses.field(default_factory=EngineOptions)

    def __post_init__(self) -> None:
        if self.seed < 0:
            raise ConfigError(f"seed is {self.seed}: it must be 0 or more")


class Watcher(Protocol):
    """Whoever shows the work to a person."""

    def notice(self, text: str) -> None:
        """Something worth a line."""

    def step(self, what: str, done: int, total: int) -> None:
        """`done` of `total` are done of `what`."""


class Nobody:
    """Shows nothing."""

    def notice(self, text: str) -> None: ...
    def step(self, what: str, done: int, total: int) -> None: ...


def evaluate(
    model: str | Path,
    paths: Sequence[str | Path],
    options: Options | None = None,
    *,
    cache: Path | None = None,
    watcher: Watcher | None = None,
) -> Evaluation:
    """How good `model` (a directory or hub name) is on the dialogues or texts in `paths`.

    `cache` is where token files and converted models may be kept (None: for this call only). Raises CorpusError,
    CheckpointError, ConfigError or EngineError for whatever a user can put right.
    """
    if cache is None:
        with tempfile.TemporaryDirectory() as folder:
            return evaluate(model, paths, options, cache=Path(folder), watcher=watcher)
    options, watcher = options or Options(), watcher or Nobody()
    found = load_any(model, _device(options.engine))
    codec = found.codec
    kind = learned(codec, found.card) if options.kind == "auto" else options.kind
    if kind != "dialogues":
        return _of_texts(found, model, paths, kind, options, cache, watcher)
    if options.field is not None or options.clean:
        given = "clean" if options.field is None else "field"
        raise ConfigError(f"--{given} is for texts: it needs --as stream, lines or records, not dialogues")
    require(kind, codec, model)
    assert isinstance(codec, Codec)
    checkpoint = Checkpoint(found.model, codec, found.card, found.path)
    evaluation = _of_dialogues(checkpoint, model, paths, options, cache, watcher)
    if not options.replies:
        return evaluation
    prompts = choose_prompts(_dialogues(paths, options), options.replies, options.seed)
    if not prompts:
        watcher.notice("nobody answers anybody in these dialogues: no replies to look at")
        return evaluation
    return _with_replies(evaluation, checkpoint, model, prompts, options, cache, watcher)


def _of_texts(
    found: AnyCheckpoint,
    model: str | Path,
    paths: Sequence[str | Path],
    shape: Shape,
    options: Options,
    cache: Path,
    watcher: Watcher,
) -> Evaluation:
    """All texts as one stream, or each by itself between the tokens that begin and end one."""
    assert found.path is not None
    codec, stream = TextCodec.load(found.path), shape == "stream"
    if not stream:
        codec = TextCodec(with_specials(codec.tokenizer), codec.window, wrapped=True)
    if len(codec.vocabulary) > found.model.config.vocab_size:
        raise ConfigError(f"{model} has no tokens that begin and end a text: take --as stream")
    source = TextSource(text_files(paths), shape, options.field, options.clean)
    tokens = tokenise_part(Part(source), codec, cache / "tokens")
    if tokens is None:
        raise CorpusError(", ".join(map(str, paths)), None, "no text in it; nothing can be evaluated")

    def progress(done: int, total: int) -> None:
        watcher.step("loss", done, total)

    measured = (
        stream_losses(found.model, tokens, codec.window, codec.pad_id, progress)
        if stream
        else losses(found.model, tokens, codec.pad_id, progress)
    )
    unknown = tokens.counts.unknown / max(1, tokens.counts.tokens)
    data = _data(paths, "pieces of text" if stream else "texts", measured, unknown)
    return _evaluation(found, model, data, measured, {"as": shape, "seed": options.seed})


def _of_dialogues(
    checkpoint: Checkpoint,
    model: str | Path,
    paths: Sequence[str | Path],
    options: Options,
    cache: Path,
    watcher: Watcher,
) -> Evaluation:
    tokens = _tokens(checkpoint, paths, options, cache, watcher)
    pad = checkpoint.codec.pad_id
    found = losses(checkpoint.model, tokens, pad, lambda done, total: watcher.step("loss", done, total))
    data = _data(paths, "dialogues", found, tokens.counts.unknown / max(1, tokens.counts.tokens))
    return _evaluation(checkpoint, model, data, found, {"learn": options.learn, "seed": options.seed})


def _evaluation(
    checkpoint: AnyCheckpoint, model: str | Path, data: Data, found: Losses, settings: dict[str, Any]
) -> Evaluation:
    return Evaluation(
        model=str(model),
        parameters=checkpoint.model.num_parameters(),
        entries=len(checkpoint.codec.vocabulary),
        data=data,
        held_out=held_out_figures(found, settings["seed"]),
        settings=settings,
        losses=found,
    )


def _device(engine: EngineOptions) -> str:
    if engine.name == "remote" or engine.url:
        raise ConfigError(
            "evaluating needs the weights: a remote engine cannot be used, leave --engine-url out"
        )
    return choose_device(engine.device)


def _tokens(
    checkpoint: Checkpoint, paths: Sequence[str | Path], options: Options, cache: Path, watcher: Watcher
) -> TokenFile:
    def on_bad(error: CorpusError) -> None:
        watcher.notice(f"skipped {error}")

    return tokenise(
        list(paths),
        checkpoint.codec,
        learn=options.learn,
        cache=cache / "tokens",
        on_bad=on_bad if options.skip_bad else None,
        on_skip=lambda path, why: watcher.notice(f"passed over {path}: {why}"),
        format=options.format,
        progress=lambda count: watcher.step("reading", count, 0),
    )


def _data(paths: Sequence[str | Path], kind: str, found: Losses, unknown: float) -> Data:
    sizes = (len(found.keys), int(found.tokens.sum()), int(found.characters.sum()))
    return Data(tuple(map(str, paths)), kind, *sizes, round(unknown, 6))


def _dialogues(paths: Sequence[str | Path], options: Options) -> Iterator[Dialogue]:
    on_bad = (lambda error: None) if options.skip_bad else None
    for file in corpus_files(list(paths), None, options.format):
        yield from read_corpus(file, on_bad, format=options.format)


def _with_replies(
    evaluation: Evaluation,
    checkpoint: Checkpoint,
    model: str | Path,
    prompts: Sequence[Prompt],
    options: Options,
    cache: Path,
    watcher: Watcher,
) -> Evaluation:
    def notify(notice: str, why: str) -> None:
        watcher.notice("preparing the model for this machine" if notice == "converting" else why)

    serving = open_model(model, options.engine, cache / "openvino", notify)
    most = min(serving.defaults.max_new_tokens, max(1, serving.codec.window // 2))
    params = replace(serving.defaults, **{"max_new_tokens": most, "seed": options.seed, **options.sampling})
    replies = asyncio.run(_replies(serving, checkpoint.codec, prompts, params, watcher))
    said = tuple(
        Said(prompt.dialogue.turns[-1].text, reply, prompt.reference)
        for prompt, reply in zip(prompts[:_SHOWN], replies, strict=False)
    )
    sampling = {key: value for key, value in asdict(params).items() if key not in ("stop_ids", "n")}
    return replace(
        evaluation,
        replies=reply_figures(prompts, replies, options.seed),
        people=people_figures(prompts, options.seed),
        said=said,
        settings={**evaluation.settings, "replies": len(prompts), "sampling": sampling},
    )


async def _replies(
    serving: Serving, codec: Codec, prompts: Sequence[Prompt], params: SamplingParams, watcher: Watcher
) -> list[str]:
    done = 0

    def answered() -> None:
        nonlocal done
        done += 1
        watcher.step("replies", done, len(prompts))

    try:
        return await generate_replies(
            serving.engine,
            codec,
            [prompt.dialogue for prompt in prompts],
            params,
            opening=serving.opening,
            answered=answered,
        )
    finally:
        await serving.engine.close()
