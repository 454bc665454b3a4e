"""`train_classifier`: from labelled texts, or for a new head that writes from plain ones, to a checkpoint."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import fields, replace
from itertools import islice
from pathlib import Path
from typing import Any

import torch

from chatgpt2.corpus.labelled import Labelled
from chatgpt2.errors import CorpusError
from chatgpt2.heads import with_head
from chatgpt2.material import pile_of
from chatgpt2.textcodec import TextCodec
from chatgpt2.training.judging import Classes, Numbers, judge, prepare
from chatgpt2.training.labelled import Share, Texts, classes_of, labels_of, read_shares, tokenised
from chatgpt2.training.learn import Result, Task, learn
from chatgpt2.training.objective import states
from chatgpt2.training.options import ClassifierOptions, TextOptions
from chatgpt2.training.report import write_report
from chatgpt2.training.samples import merged
from chatgpt2.training.text import begin, text_task
from chatgpt2.training.textdata import tell_encodings
from chatgpt2.training.watch import Observer, Sample


def train_classifier(
    options: ClassifierOptions, cache: Path, observer: Observer, *, resume: bool = False
) -> Result[Any]:
    """Train as `options` say, or with `resume` go on with the run in `options.out`.

    The figures are Judged (classification), Fitted (regression, value) or HeldOut (lm). Raises CorpusError,
    CheckpointError or ConfigError for whatever a user can put right.
    """
    task_of = _writing if options.head == "lm" else _judging
    return learn(options, lambda device: task_of(options, cache, observer), observer, resume=resume)


def _writing(options: ClassifierOptions, cache: Path, observer: Observer) -> Task:
    """A new head that writes, on texts without labels."""
    shared = {field.name for field in fields(TextOptions)} & {field.name for field in fields(options)}
    texts = TextOptions(**{name: getattr(options, name) for name in shared})
    task = text_task(texts, cache, observer)
    model = with_head(task.start.model, "lm", (), options.seed)
    return replace(task, start=replace(task.start, model=model), plain=merged)


def _judging(options: ClassifierOptions, cache: Path, observer: Observer) -> Task:
    shares = read_shares(options)
    classes = classes_of(shares) if options.head == "classification" else None
    start = begin(options, _Plain(shares[0]))
    codec = start.codec.whole()
    parts = [_texts(share, codec, classes, cache) for share in shares]
    learned, held, test = parts
    tell_encodings((share.source.files for share in shares if share), observer)
    _describe(options, shares, parts, codec, classes, observer)
    assert learned is not None
    names = classes or (options.label or "value",)
    model = with_head(start.model, options.head, names, options.seed)
    nothing = Texts(pile_of(learned.pile.file, codec.pad_id, []), learned.labels)
    about = {
        "head": options.head,
        "base": options.base,
        "freeze_backbone": options.freeze_backbone,
        "texts": len(learned),
    }
    shown = list(islice(shares[1], options.samples)) if shares[1] else []

    def prepared(network: Any, bf16: bool, device: str) -> None:
        inner = prepare(network, options.head, bf16, device)
        if inner.backbone_is_frozen:
            _keep_states(inner.to(device), list(filter(None, parts)), device, observer)

    return Task(
        replace(start, model=model),
        codec.window,
        learned,
        held or nothing,
        "/".join(part.pile.file.fingerprint if part else "-" for part in parts),
        samples=lambda network: _judgements(network, codec, names, shown),
        test=test,
        card={"objective": options.head, "tokenizer": codec.kind, "learn": options.head},
        measure=Classes(classes) if classes else Numbers(),
        prepare=prepared,
        primed=False,
        plain=merged,
        finish=lambda result: write_report(result, about),
    )


class _Plain:
    """The texts of a share without their labels."""

    def __init__(self, share: Share) -> None:
        self._share = share

    def __iter__(self) -> Any:
        return (each.text for each in self._share)


def _texts(share: Share | None, codec: TextCodec, classes: Sequence[str] | None, cache: Path) -> Texts | None:
    if share is None or next(iter(share), None) is None:
        return None
    return tokenised(share, codec, labels_of(share, classes), cache)


def _keep_states(inner: Any, parts: Sequence[Texts], device: str, observer: Observer) -> None:
    began = time.perf_counter()
    total = sum(part.tokens for part in parts)
    observer.notice(f"the backbone is frozen: reading all {total:,} tokens with it")
    if all(part.keep_states(inner, device) for part in parts):
        observer.notice(
            f"once was enough: what it makes of them is kept ({time.perf_counter() - began:.0f} s)"
        )


def _describe(
    options: ClassifierOptions,
    shares: Sequence[Share | None],
    parts: Sequence[Texts | None],
    codec: TextCodec,
    classes: Sequence[str] | None,
    observer: Observer,
) -> None:
    if parts[0] is None:
        where = ", ".join(map(str, options.paths))
        raise CorpusError(where, None, "no text is left to train on; --split gives its share to others")
    if options.skip_bad:
        for share in {id(each.source): each for each in shares if each}.values():
            for _ in share.source.read(lambda error: observer.notice(f"skipped {error}")):
                pass
    for name, part in zip(("training on", "held out", "kept for the test at the end"), parts, strict=True):
        if part is None:
            continue
        counts = part.pile.file.counts
        text = f"{name}: {len(part):,} texts, {counts.tokens:,} tokens"
        if classes:
            each = torch.bincount(part.labels, minlength=len(classes)).tolist()
            text += f"; {', '.join(f'{label} × {n:,}' for label, n in zip(classes[:12], each, strict=False))}"
        if counts.cut:
            text += f"; {counts.cut:,} longer than {codec.window} tokens were cut"
        observer.notice(text)
    if parts[1] is None:
        observer.notice("nothing held out: no held-out figures")


@torch.no_grad()
def _judgements(
    model: Any, codec: TextCodec, names: Sequence[str], texts: Sequence[Labelled]
) -> list[Sample]:
    """What the model says of some held-out texts now, and what is right."""
    inner = model.get_base_model() if hasattr(model, "get_base_model") else model
    device, was_training = inner.transformer.wte.weight.device, model.training
    model.eval()
    found = []
    for each in texts:
        ids = torch.from_numpy(codec.encode_whole([each.text]).ids).long()[None].to(device)
        last = torch.tensor([ids.shape[1] - 1], device=device)
        judged = judge(inner, states(inner, ids, last))[0]
        if judged.ndim:
            share, best = judged.softmax(-1).max(-1)
            words = f"{names[int(best)]} ({share.item():.0%})"
        else:
            words = f"{judged.item():.3f}"
        found.append(Sample(" ".join(each.text.split())[:80], f"{words}, is {each.label}"))
    model.train(was_training)
    return found
