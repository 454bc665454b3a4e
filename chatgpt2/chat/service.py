"""One turn in, one turn out."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from chatgpt2.chat.alone import Alone, Place
from chatgpt2.chat.blocked import BlockedWords
from chatgpt2.chat.replying import Making, Reply
from chatgpt2.chat.settings import SETTINGS, known, number
from chatgpt2.chat.words import DECLINED
from chatgpt2.dialogue import Dialogue, Turn
from chatgpt2.engine.base import SamplingParams
from chatgpt2.errors import ConfigError, NoSuchSession
from chatgpt2.serving import Exchangeable, Serving
from chatgpt2.store import Exchange, Feedback, People, SessionKey, SessionStore, Standing, Verdict

_NEW = Standing({}, None, Dialogue())


class Stored(str):
    """The text that a reply came to: it has been stored, and nothing comes after it."""

    __slots__ = ()


class ChatService:
    """Answers in sessions: in order within each, many at once.

    A turn is stored when its reply is finished, whole or not at all. Streams give the full text so far; the
    last value is the final text, a `Stored`, and it is given only after it has been stored.

    serving     the model to begin with
    overrides   settings that win over those of a session (options of a command line)
    blocked     words that are not answered, and not said
    timeout     seconds that a reply may take; None: any time
    """

    def __init__(
        self,
        serving: Serving,
        store: SessionStore,
        *,
        overrides: Mapping[str, Any] | None = None,
        blocked: BlockedWords | None = None,
        timeout: float | None = None,
    ) -> None:
        self._store, self._people, self._feedback = store, People(store), Feedback(store)
        self.models = Exchangeable(serving)
        self._overrides = dict(overrides or {})
        self.blocked, self._timeout = blocked or BlockedWords(()), timeout
        self._places: dict[SessionKey, Place] = {}
        self._latest: tuple[Serving, dict[str, Any], SamplingParams] | None = None
        self._running: dict[SessionKey, Reply] = {}
        self._check(self._overrides)

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

        With `existing` a session that is not there is not made: NoSuchSession.

        Closing the iterator (or cancelling its task, or `stop`) stops the engine, and nothing is stored. Raises
        ConfigError, EngineBusy (try again later), ReplyTimeout, ReplyStopped, EngineError, StoreError.
        """
        said = _clean(text)
        if not said:
            raise ConfigError("The message is empty: there is nothing to answer.")
        who: dict[str, Any] = {"message_id": message_id, "user_id": user}
        async with self._alone(session):
            standing = await self._standing(session, message_id)
            if standing is None and existing:
                raise NoSuchSession("There is no such session: begin another.")
            if standing is not None and standing.earlier is not None:
                yield Stored(standing.earlier)
                return
            if self.blocked.hit(said):  # on record, and out of the model's sight
                yield Stored(await self._store.append(session, said, DECLINED, **who, removed="blocked"))
                return
            standing = standing or _NEW
            dialogue = standing.dialogue.say("user", said)
            async with self._replying(session) as reply:
                self._begin(reply, standing, dialogue)
                while (so_far := await reply.next()) is not None:
                    yield so_far
                yield Stored(await self._store.append(session, said, reply.text, **who, **reply.facts()))

    async def exchange(self, serving: Serving) -> None:
        """Let another model answer from now on. Running replies end on the old one, whose engine is then closed.

        Raises ConfigError, and changes nothing, when the settings in force do not fit the new model.
        """
        serving.room(replace(serving.defaults, **self._overrides))
        self._latest = None  # it would keep the old model's memory
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
        async with self._alone(session):
            standing = await self._standing(session) or _NEW
            dialogue = _until_last_question(standing.dialogue)
            if not dialogue.turns:
                raise ConfigError("There is nothing to answer again: the conversation is empty.")
            async with self._replying(session) as reply:
                self._begin(reply, standing, dialogue, again=True)
                while (so_far := await reply.next()) is not None:
                    yield so_far
                await self._store.replace_reply(session, reply.text, **reply.facts())
                yield Stored(reply.text)

    async def stop(self, session: SessionKey) -> bool:
        """End the reply that is in the making in this session, in whichever process; nothing of it is stored.
        False: there is none."""
        reply = self._running.get(session)
        if reply is None:
            return await self._store.order.end_elsewhere(session)
        reply.stop()
        return True

    async def undo(self, session: SessionKey) -> Exchange | None:
        """Take back the last message and its reply."""
        async with self._alone(session):
            return await self._store.undo(session)

    async def reset(self, session: SessionKey) -> int:
        """Start over. How many turns left the conversation; they stay on record."""
        async with self._alone(session):
            return await self._store.clear(session)

    async def delete(self, session: SessionKey) -> bool:
        """Delete a session with all that was said, once the running reply is stored. False: there is none."""
        async with self._alone(session):
            return await self._store.delete(session)

    async def feedback(
        self,
        session: SessionKey,
        verdict: Verdict | None = None,
        text: str | None = None,
        *,
        user: str | None = None,
        position: int | None = None,
        message_id: str | None = None,
    ) -> int | None:
        """What a user thinks of a reply; see Feedback.give."""
        said = None if text is None else _clean(text) or None
        return await self._feedback.give(
            session, verdict, said, user=user, position=position, message_id=message_id
        )

    async def verdicts(self, session: SessionKey, user: str | None = None) -> dict[int, Verdict]:
        """The user's 👍 and 👎, by the positions of the replies."""
        return await self._feedback.verdicts(session, user)

    async def opt_out(self, session: SessionKey, user: str | None = None, *, out: bool = True) -> None:
        """Keep what this user of the session's platform says out of every export, or let it in again."""
        change = self._people.opt_out if out else self._people.opt_in
        await change(session.platform, session.account, user or "")

    async def opted_out(self, session: SessionKey, user: str | None = None) -> bool:
        """Whether the user opted out."""
        return await self._people.opted_out(session.platform, session.account, user or "")

    async def history(self, session: SessionKey) -> Dialogue:
        """The conversation as it stands."""
        return await self._store.load(session)

    async def sampling(self, session: SessionKey) -> SamplingParams:
        """How replies in this session are chosen."""
        return self._sampling(self.models.current, (await self._store.own(session))[0])

    async def set(self, session: SessionKey, key: str, value: str | float | None) -> SamplingParams:
        """Change one setting of a session; None goes back to the default."""
        name = known(key.strip().lower().replace("-", "_"))
        own, _ = await self._store.own(session)
        own.pop(name, None)
        if value is not None:
            own[name] = number(name, value)
            self._check(own)
        await self._store.set_settings(session, own)
        self._latest = None
        self._overrides.pop(name, None)  # what a person sets last wins over the command line
        return await self.sampling(session)

    async def replace_settings(self, session: SessionKey, settings: Mapping[str, str | float]) -> None:
        """Let these be the session's own settings, and no others. Raises ConfigError, and changes nothing."""
        own = {name: number(known(name), value) for name, value in settings.items()}
        self._check(own)
        await self._store.set_settings(session, own)

    async def persona(self, session: SessionKey) -> tuple[Turn, ...]:
        """The turns that are set before every prompt of this session."""
        _, own = await self._store.own(session)
        return self.models.current.opening if own is None else own

    async def set_persona(self, session: SessionKey, persona: Sequence[Turn] | None) -> None:
        """Give the session opening turns of its own; None: back to the model's, (): none at all.

        Raises ConfigError when they begin with the bot, do not alternate, end with the user, hold a blocked word, or
        take more than half of the model's window.
        """
        if persona is not None:
            persona = [Turn(turn.role, _clean(turn.text)) for turn in persona]
            self._check_persona(persona)
        await self._store.set_persona(session, persona)

    def _replying(self, session: SessionKey) -> Making:
        return Making(self._running, session, self.models.lease(), self._store.order, self._new_reply)

    def _new_reply(self, serving: Serving) -> Reply:
        return Reply(serving, self._timeout, self.blocked.hit)

    def _begin(self, reply: Reply, standing: Standing, dialogue: Dialogue, again: bool = False) -> None:
        serving = reply.serving
        params = self._of_one_reply(serving, standing.settings)
        opening = serving.opening if standing.persona is None else standing.persona
        reply.begin(serving.codec.prompt(dialogue, serving.room(params), opening), params, again)

    def _of_one_reply(self, serving: Serving, settings: dict[str, Any]) -> SamplingParams:
        """The sampling, which hardly ever differs from that of the reply before."""
        latest = self._latest
        if latest is None or latest[0] is not serving or latest[1] != settings:
            params = self._sampling(serving, settings)
            params = replace(params, stop_ids=params.stop_ids or serving.codec.stop_ids, n=1)
            self._latest = latest = serving, settings, params
        return latest[2]

    async def _standing(self, session: SessionKey, message_id: str | None = None) -> Standing | None:
        """A turn has a token at least: no more of them than the window has places can be in a prompt."""
        return await self._store.standing(session, self.models.current.codec.window, message_id)

    def _sampling(self, serving: Serving, settings: Mapping[str, Any]) -> SamplingParams:
        own = {key: value for key, value in settings.items() if key in SETTINGS}
        return replace(serving.defaults, **{**own, **self._overrides})

    def _check(self, settings: Mapping[str, Any]) -> None:
        checked: dict[str, Any] = {key: number(known(key), settings[key]) for key in settings}
        serving = self.models.current
        serving.room(replace(serving.defaults, **checked))

    def _check_persona(self, persona: Sequence[Turn]) -> None:
        if not all(turn.text for turn in persona):
            raise ConfigError("A turn of the persona is empty.")
        if len(persona) % 2 or any(turn.role != ("user", "bot")[at % 2] for at, turn in enumerate(persona)):
            raise ConfigError("A persona is turns of user and bot by turns, the bot's last.")
        if any(self.blocked.hit(turn.text) for turn in persona):
            raise ConfigError("The persona holds a blocked word.")
        codec = self.models.current.codec
        if sum(len(codec.begin(turn.text)) for turn in persona) > codec.window // 2:
            raise ConfigError(f"The persona is too long: {codec.window // 2} tokens at most.")

    def _alone(self, session: SessionKey) -> Alone:
        """Have the session to oneself: among the tasks of this process, then among processes."""
        return Alone(self._places, session, self._store.order)


def _until_last_question(dialogue: Dialogue) -> Dialogue:
    """The dialogue up to the last user turn, ready to be answered."""
    turns = dialogue.turns
    while turns and turns[-1].role != "user":
        turns = turns[:-1]
    return Dialogue(turns)


def _clean(text: str) -> str:
    """Text that every database takes: no NUL, no half of a surrogate pair."""
    return text.replace("\x00", "").encode("utf-16", "surrogatepass").decode("utf-16", "replace").strip()
