"""One turn in, one turn out: the conversation that every front end has with the model."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, replace
from typing import Any, cast
from weakref import WeakValueDictionary

from chatgpt2.dialogue import Dialogue, Turn
from chatgpt2.engine.base import Engine, SamplingParams, Step
from chatgpt2.errors import ConfigError
from chatgpt2.serving import ChatCodec, Exchangeable, Serving
from chatgpt2.store import Exchange, SessionKey, SessionStore

# What a session may set for itself. The other fields of SamplingParams belong to the program.
SETTINGS: Mapping[str, type[int] | type[float]] = {
    "temperature": float,
    "top_k": int,
    "top_p": float,
    "repetition_penalty": float,
    "no_repeat_ngram": int,
    "max_new_tokens": int,
    "seed": int,
}
SPEECHLESS = "嗯……我一时不知道说什么好，换个话题聊聊吧。"

_ATTEMPTS = 3  # to get a reply that is not blank


@dataclass(slots=True)
class _Reply:
    """A reply in the making."""

    text: str = ""
    tokens: int = 0
    began: float = 0.0
    model: str | None = None

    def facts(self) -> dict[str, Any]:
        """What is stored beside the text."""
        return {"model": self.model, "tokens": self.tokens, "latency": time.monotonic() - self.began}


class ChatService:
    """Answers in sessions: in order within each, many at once.

    A turn is stored when its reply is finished, whole or not at all. Streams give the full text so far; the
    last value is the final text, and it is given only after it has been stored.

    defaults    sampling where neither `overrides` nor the session says otherwise
    opening     turns set before every prompt (a persona); they are not part of the record
    overrides   settings that win over those of a session (options of a command line)
    model       which model answers, for the record
    """

    def __init__(
        self,
        engine: Engine,
        codec: ChatCodec,
        store: SessionStore,
        defaults: SamplingParams | None = None,
        opening: Sequence[Turn] = (),
        *,
        overrides: Mapping[str, Any] | None = None,
        model: str | None = None,
    ) -> None:
        self._store = store
        self.models = Exchangeable(
            Serving(engine, codec, defaults or SamplingParams(), tuple(opening), model)
        )
        self._overrides = dict(overrides or {})
        self._locks: WeakValueDictionary[SessionKey, asyncio.Lock] = WeakValueDictionary()
        self._check(self._overrides)

    @classmethod
    def of(
        cls, serving: Serving, store: SessionStore, *, overrides: Mapping[str, Any] | None = None
    ) -> ChatService:
        """A service that begins with the model `serving`."""
        parts = (serving.engine, serving.codec, store, serving.defaults, serving.opening)
        return cls(*parts, overrides=overrides, model=serving.name)

    async def close(self) -> None:
        """Close the engine; running replies end with an error."""
        await self.models.current.engine.close()

    async def stream(
        self,
        session: SessionKey,
        text: str,
        message_id: str | None = None,
        user: str | None = None,
        *,
        existing: bool = False,
    ) -> AsyncGenerator[str]:
        """Answer `text`. A message id that has been answered before gets the same answer again.

        With `existing` a session that is not there is not made.

        Closing the iterator (or cancelling its task) stops the engine, and nothing is stored.
        """
        said = _clean(text)
        if not said:
            raise ConfigError("The message is empty: there is nothing to answer.")
        async with self._lock(session):
            if existing and await self._store.info(session) is None:
                raise ConfigError("The session is gone: begin another.")
            earlier = None if message_id is None else await self._store.find_reply(session, message_id)
            if earlier is not None:
                yield earlier
                return
            dialogue = (await self._store.load(session)).say("user", said)
            reply = _Reply(began=time.monotonic())
            async with aclosing(self._generate(session, dialogue, reply)) as texts:
                async for so_far in texts:
                    yield so_far
            facts = reply.facts()
            yield await self._store.append(
                session, said, reply.text, message_id=message_id, user_id=user, **facts
            )

    async def exchange(self, serving: Serving) -> None:
        """Let another model answer from now on. Running replies end on the old one, whose engine is then closed.

        Raises ConfigError, and changes nothing, when the settings in force do not fit the new model.
        """
        serving.room(replace(serving.defaults, **self._overrides))
        await self.models.exchange(serving)

    async def reply(
        self, session: SessionKey, text: str, message_id: str | None = None, user: str | None = None
    ) -> str:
        """The whole answer to `text`."""
        final = ""
        async for so_far in self.stream(session, text, message_id, user):
            final = so_far
        return final

    async def retry(self, session: SessionKey) -> AsyncGenerator[str]:
        """Answer the last message anew; the old reply stands until the new one is finished."""
        async with self._lock(session):
            dialogue = _until_last_question(await self._store.load(session))
            if not dialogue.turns:
                raise ConfigError("There is nothing to answer again: the conversation is empty.")
            reply = _Reply(began=time.monotonic())
            async with aclosing(self._generate(session, dialogue, reply, again=True)) as texts:
                async for so_far in texts:
                    yield so_far
            await self._store.replace_reply(session, reply.text, **reply.facts())
            yield reply.text

    async def undo(self, session: SessionKey) -> Exchange | None:
        """Take back the last message and its reply."""
        async with self._lock(session):
            return await self._store.undo(session)

    async def reset(self, session: SessionKey) -> int:
        """Start over. How many turns left the conversation; they stay on record."""
        async with self._lock(session):
            return await self._store.clear(session)

    async def delete(self, session: SessionKey) -> bool:
        """Delete a session with all that was said, once the running reply is stored. False: there is none."""
        async with self._lock(session):
            return await self._store.delete(session)

    async def history(self, session: SessionKey) -> Dialogue:
        """The conversation as it stands."""
        return await self._store.load(session)

    async def sampling(self, session: SessionKey) -> SamplingParams:
        """How replies in this session are chosen."""
        return await self._sampling(self.models.current, session)

    async def _sampling(self, serving: Serving, session: SessionKey) -> SamplingParams:
        own = {key: value for key, value in (await self._store.settings(session)).items() if key in SETTINGS}
        return replace(serving.defaults, **{**own, **self._overrides})

    async def set(self, session: SessionKey, key: str, value: str | float | None) -> SamplingParams:
        """Change one setting of a session; None goes back to the default."""
        name = _known(key.strip().lower().replace("-", "_"))
        own = await self._store.settings(session)
        own.pop(name, None)
        if value is not None:
            own[name] = _number(name, value)
            self._check(own)
        await self._store.set_settings(session, own)
        self._overrides.pop(name, None)  # what a person sets last wins over the command line
        return await self.sampling(session)

    async def _generate(
        self, session: SessionKey, dialogue: Dialogue, reply: _Reply, again: bool = False
    ) -> AsyncGenerator[str]:
        """Yield the growing text and leave the whole in `reply`; a blank reply is generated again."""
        async with self.models.lease() as serving:
            reply.model = serving.name
            params = await self._sampling(serving, session)
            params = replace(params, stop_ids=params.stop_ids or serving.codec.stop_ids, n=1)
            prompt = serving.codec.prompt(dialogue, serving.room(params), serving.opening)
            for attempt in range(_ATTEMPTS):
                varied = _vary(params, attempt, again)
                async with aclosing(_attempt(serving, prompt, varied, reply)) as texts:
                    async for so_far in texts:
                        yield so_far
                if reply.text:
                    return
            reply.text = SPEECHLESS

    def _check(self, settings: Mapping[str, Any]) -> None:
        checked: dict[str, Any] = {key: _number(_known(key), settings[key]) for key in settings}
        serving = self.models.current
        serving.room(replace(serving.defaults, **checked))

    def _lock(self, session: SessionKey) -> asyncio.Lock:
        """One lock for each session that someone is using; it goes when nobody holds or awaits it."""
        lock = self._locks.get(session)
        if lock is None:
            lock = self._locks[session] = asyncio.Lock()
        return lock


async def _attempt(
    serving: Serving, prompt: list[int], params: SamplingParams, reply: _Reply
) -> AsyncGenerator[str]:
    decoder, raw = serving.codec.decoder(), ""
    reply.text, reply.tokens = "", 0
    # A generator, for it can be closed; the protocol says iterator, as one does for generator methods.
    steps = cast("AsyncGenerator[Step]", serving.engine.generate(prompt, params))
    async with aclosing(steps):
        async for step in steps:
            reply.tokens += len(step.ids)
            raw += decoder.push(step.ids)
            if raw.strip() != reply.text:
                reply.text = raw.strip()
                yield reply.text
    reply.text = (raw + decoder.finish()).strip()


def _vary(params: SamplingParams, attempt: int, again: bool) -> SamplingParams:
    """A further attempt must not come out as the one before: another seed, and no greedy choice."""
    if attempt == 0 and not again:
        return params
    seed = None if again or params.seed is None else params.seed + attempt
    return replace(params, seed=seed, temperature=params.temperature or SamplingParams().temperature)


def _until_last_question(dialogue: Dialogue) -> Dialogue:
    """The dialogue up to the last user turn, ready to be answered."""
    turns = dialogue.turns
    while turns and turns[-1].role != "user":
        turns = turns[:-1]
    return Dialogue(turns)


def _clean(text: str) -> str:
    """Text that every database takes: no NUL, no half of a surrogate pair."""
    return text.replace("\x00", "").encode("utf-16", "surrogatepass").decode("utf-16", "replace").strip()


def _known(name: str) -> str:
    if name not in SETTINGS:
        raise ConfigError(f"There is no setting {name!r}: choose from {', '.join(SETTINGS)}.")
    return name


def _number(name: str, value: str | float) -> int | float:
    kind = SETTINGS[name]
    try:
        number = kind(value)
    except (ValueError, OverflowError) as error:
        what = "a whole number" if kind is int else "a number"
        raise ConfigError(f"{name} is {value!r}: it must be {what}.") from error
    if kind is int and not 0 <= number < 2**63:
        raise ConfigError(f"{name} is {number}: it must be 0 or more, and below 2**63.")
    return number
