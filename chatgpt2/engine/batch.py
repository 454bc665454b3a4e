"""The running batch: replies join, each step gives every one of them a token, and they leave when done.

Used by one thread only. A reply owns one row of the cache; the rows in use are always the first ones,
so that a step works on a plain slice: the last row moves into the place of one that leaves.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import partial

import torch
from torch import Tensor

from chatgpt2.engine.base import Finish, SamplingParams, Step
from chatgpt2.engine.gpt2 import Cache, Gpt2
from chatgpt2.engine.graphs import Graphs, recorder
from chatgpt2.engine.prefixes import Prefixes
from chatgpt2.engine.sampling import Columns, completes_ngram, forbid, penalise, sample
from chatgpt2.engine.worker import Event, Request


@dataclass(eq=False, slots=True)
class Reply:
    """One reply in the making: the owner of one row."""

    request: Request
    index: int
    limit: int  # tokens it may have: max_new_tokens, or what the window leaves
    stops: list[int]  # the stop ids that the model knows
    uniforms: list[float]  # one number in [0, 1) for each token it may have
    ids: list[int] = field(default_factory=list)

    @property
    def params(self) -> SamplingParams:
        return self.request.params

    @property
    def count(self) -> int:
        """Ids of prompt and reply; the last one is not read yet."""
        return len(self.request.prompt) + len(self.ids)

    def suppressed(self) -> Sequence[int]:
        """Stop ids that would come too early."""
        return self.stops if len(self.ids) < self.params.min_new_tokens else ()

    def repeating(self) -> Sequence[int]:
        """Ids that would repeat an n-gram of the reply."""
        return completes_ngram(self.ids, n) if (n := self.params.no_repeat_ngram) else ()

    def take(self, token: int) -> Finish | None:
        """Add the token, unless it ends the reply."""
        if token in self.stops:
            return "stop"
        self.ids.append(token)
        return "length" if len(self.ids) == self.limit else None


class Batch:
    """All replies that are being generated, one row each."""

    def __init__(
        self, model: Gpt2, banned_ids: Sequence[int], pad_id: int, max_rows: int, prefix_tokens: int
    ) -> None:
        self._model = model
        self._pad_id = pad_id
        self._max_rows = max_rows
        self._banned = torch.tensor(sorted(set(banned_ids)), dtype=torch.long, device=model.device)
        self._rows: list[Reply] = []
        self._columns: Columns | None = None  # laid out again whenever a row comes, goes or moves
        self._prefixes = Prefixes(prefix_tokens)
        self.reused = 0  # prompt tokens that were known from earlier replies, since the start
        self._start()

    def _start(self) -> None:
        """An empty cache."""
        self._cache: Cache = self._model.new_cache(self._pad_id)
        self._next: Callable[[list[int]], Tensor] | None = None

    def _next_logits(self, counts: list[int]) -> Tensor:
        """Made by the first step, not before: what fails is the step, and an engine that closes takes no memory."""
        if self._next is None:
            record = recorder(self._model.device)
            if record is None:
                self._next = partial(self._model.next_logits, self._cache)
            else:
                self._cache.reserve(self._max_rows, self._model.window)
                self._next = Graphs(self._model, self._cache, record).next_logits
        return self._next(counts)

    def __len__(self) -> int:
        return len(self._rows)

    @property
    def room(self) -> int:
        """Rows that are free."""
        return self._max_rows - len(self._rows)

    def requests(self) -> set[Request]:
        """The requests that have a reply in the batch."""
        return {reply.request for reply in self._rows}

    @torch.inference_mode()
    def join(self, request: Request) -> int:
        """Give the request its rows and read its prompt, all but the last id; the number of ids read.

        The last id is read by the next step, together with all other rows.
        """
        first, unread = len(self._rows), len(request.prompt) - 1
        replies = _replies(request, self._model)
        self._cache.reserve(first + len(replies), len(request.prompt))
        shared = self._fill(first, request.prompt)
        if shared < unread:
            self._model.read(self._cache, first, shared, unread)
        for row in range(first + 1, first + len(replies)):
            self._cache.copy_row(first, row, unread)
        self._rows += replies
        self._columns = None
        return unread - shared

    def _fill(self, row: int, prompt: list[int]) -> int:
        """Write the prompt into the row, and keys and values as far as known; the number of ids known."""
        # The rest of the row repeats an id of the prompt, so that all of it counts as seen (`penalise`).
        self._cache.ids[row] = prompt[0]
        self._cache.ids[row, : len(prompt)] = torch.tensor(prompt, device=self._model.device)
        saved, shared = self._prefixes.longest(prompt[:-1])
        if saved is not None:
            self._cache.restore(row, saved, shared)
        self.reused += shared
        return shared

    @torch.inference_mode()
    def step(self) -> list[Event]:
        """One more token for every reply. Finished replies have left when it returns."""
        counts = [reply.count for reply in self._rows]
        tokens = self._choose(self._next_logits(counts), max(counts)).tolist()
        finishes = [reply.take(token) for reply, token in zip(self._rows, tokens, strict=True)]
        events = [
            (reply.request, Step([] if finish == "stop" else [token], finish, reply.index))
            for reply, token, finish in zip(self._rows, tokens, finishes, strict=True)
        ]
        self._write(tokens, counts, finishes)
        return events

    def _write(self, tokens: list[int], counts: list[int], finishes: list[Finish | None]) -> None:
        """Put the new tokens behind the ids of the rows that go on, and let the others leave."""
        going = [row for row, finish in enumerate(finishes) if finish is None]
        if going:
            self._cache.reserve(len(counts), max(counts[row] for row in going) + 1)
            places = [counts[row] for row in going]
            self._cache.ids[going, places] = torch.tensor(
                [tokens[row] for row in going], device=self._model.device
            )
        self._leave(row for row, finish in enumerate(finishes) if finish)

    def _choose(self, logits: Tensor, longest: int) -> Tensor:
        """The next token of every row, from logits [rows, vocabulary]."""
        columns = self._columns or self._lay_out()
        if columns.penalised:
            logits = penalise(logits, self._cache.ids[: len(logits), :longest], columns.penalty)
        logits.index_fill_(1, self._banned, -torch.inf)
        for row, reply in enumerate(self._rows):
            for ids in (reply.suppressed(), reply.repeating()):
                if ids:
                    forbid(logits[row], ids)
        uniforms = torch.tensor([r.uniforms[len(r.ids)] for r in self._rows], device=logits.device)
        return sample(logits, columns, uniforms)

    def _lay_out(self) -> Columns:
        self._columns = Columns.of([r.params for r in self._rows], self._model.vocabulary, self._model.device)
        return self._columns

    @torch.inference_mode()
    def drop(self, request: Request) -> None:
        """Let go of all replies of a request whose caller went away."""
        self._leave(row for row, reply in enumerate(self._rows) if reply.request is request)

    def _leave(self, rows: Iterable[int]) -> None:
        """Remember what the rows have read and give them up, highest first so that none moves twice."""
        for row in sorted(rows, reverse=True):
            length = self._rows[row].count - 1
            if self._prefixes.wants(length):
                self._prefixes.keep(self._cache.save(row, length))
            last = len(self._rows) - 1
            if row != last:
                self._cache.copy_row(last, row, self._rows[last].count)
                self._rows[row] = self._rows[last]
            self._rows.pop()
            self._columns = None

    @property
    def quick(self) -> bool:
        """To join is to have one's prompt read."""
        return False

    def begin(self) -> None:
        """Nothing: replies go on by steps."""

    def nudge(self) -> None:
        """A step is one token here: there is nothing to hurry."""

    def clear(self) -> None:
        """Forget everything, as after a failed step: its keys and values may be half written."""
        self._rows.clear()
        self._columns = None
        self._prefixes.clear()
        self._start()


def _replies(request: Request, model: Gpt2) -> list[Reply]:
    """The replies of a request, each with its random numbers: row i of the same block for any `n`."""
    params = request.params
    generator = torch.Generator()
    if params.seed is None:
        generator.seed()
    else:
        generator.manual_seed(params.seed % 2**63)
    limit = min(params.max_new_tokens, model.window - len(request.prompt))
    stops = [token for token in params.stop_ids if 0 <= token < model.vocabulary]
    numbers: list[list[float]] = torch.rand(params.n, limit, generator=generator).tolist()
    return [Reply(request, index, limit, stops, numbers[index]) for index in range(params.n)]
