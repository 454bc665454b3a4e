"""The `remote` engine: a server with an OpenAI-compatible /v1/completions that speaks token ids (vLLM does).

Prompts go as ids, and ids come back (`return_token_ids`), so the server's tokenizer plays no part.
"""

from __future__ import annotations

import asyncio
import json
import random
import time
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import aclosing
from typing import Any
from weakref import WeakKeyDictionary

import httpx

from chatgpt2.engine.base import Finish, SamplingParams, Step
from chatgpt2.engine.checking import checked
from chatgpt2.errors import EngineBusy, EngineError

_FORBIDDEN = -100.0  # the strongest logit_bias that the protocol knows: never sampled
_CONNECT_SECONDS = 5.0
_LOOK_SECONDS = 3.0  # for the list of models, which costs a server nothing
_FRESH_SECONDS = 3.0  # that what was found holds
_LONGEST_WAIT = 10.0  # seconds that a server may ask for and somebody still waits for a reply


class RemoteEngine:
    """Generates on another machine.

    url               of the server, with or without /v1
    window, vocabulary, banned_ids  of the model
    model             its name there; None: the first that the server lists
    key               sent as a bearer token
    timeout           seconds to wait for the next token
    attempts          how often a request is sent while no token has come; between two the wait doubles
    wait              seconds before the second attempt
    """

    def __init__(
        self,
        url: str,
        *,
        window: int,
        vocabulary: int,
        banned_ids: Sequence[int] = (),
        model: str | None = None,
        key: str | None = None,
        timeout: float = 60.0,
        attempts: int = 4,
        wait: float = 0.5,
    ) -> None:
        self._url = url.rstrip("/").removesuffix("/v1") + "/v1"
        self._there = str(httpx.URL(self._url).copy_with(userinfo=b""))  # for messages: without a password
        self._window, self._vocabulary = window, vocabulary
        self._bias = {str(i): _FORBIDDEN for i in sorted(set(banned_ids))}
        self._model = model
        self._headers = {"Authorization": f"Bearer {key}"} if key else {}
        self._timeout = httpx.Timeout(timeout, connect=_CONNECT_SECONDS)
        self._attempts, self._wait = attempts, wait
        # A connection belongs to its event loop, and callers may come from several.
        self._clients: WeakKeyDictionary[asyncio.AbstractEventLoop, httpx.AsyncClient] = WeakKeyDictionary()
        self._closed = False
        self._found: tuple[float, str | None] | None = None  # when, and why it would not answer

    async def generate(self, prompt_ids: Sequence[int], params: SamplingParams) -> AsyncIterator[Step]:
        """Stream one reply (or `params.n`). Closing the iterator ends the request there too.

        Raises EngineError when the server cannot be reached, refuses, or gives no token ids back; EngineBusy
        when it stays too busy. What fails before the first token is tried again, except a refusal.
        """
        prompt = checked(
            prompt_ids, params, window=self._window, vocabulary=self._vocabulary, max_batch=params.n
        )
        if params.no_repeat_ngram:
            raise EngineError("no_repeat_ngram is not offered by the remote engine: leave it out")
        for attempt in range(self._attempts):
            begun = False
            try:
                async with aclosing(self._ask(prompt, params)) as steps:
                    async for step in steps:
                        begun = True
                        yield step
                return
            except (httpx.HTTPError, _Asleep) as error:
                if begun:
                    what = f"the connection to {self._there} broke off in a reply: {_what(error)}"
                    raise EngineError(what) from error
                after = error.after if isinstance(error, _Asleep) else 0
                if attempt == self._attempts - 1 or after > _LONGEST_WAIT:
                    raise _given_up(self._there, error) from error
                await asyncio.sleep(max(after, self._wait * 2**attempt * random.uniform(0.5, 1)))

    async def _ask(self, prompt: list[int], params: SamplingParams) -> AsyncGenerator[Step]:
        body = self._body(prompt, params, self._model or await self._first_model())
        client = self._client()
        open_replies = params.n
        async with client.stream("POST", f"{self._url}/completions", json=body) as response:
            await self._check(response)
            async for line in response.aiter_lines():
                if not line.startswith("data:"):
                    continue
                data = line.removeprefix("data:").strip()
                if data == "[DONE]":
                    break
                for step in self._steps(data, params):
                    open_replies -= step.finish is not None
                    yield step
        if open_replies:
            raise httpx.RemoteProtocolError("the stream ended before the reply did")

    def _body(self, prompt: list[int], params: SamplingParams, model: str) -> dict[str, Any]:
        limit = min(params.max_new_tokens, self._window - len(prompt))
        return {
            "model": model,
            "prompt": prompt,
            "stream": True,
            "return_token_ids": True,
            "max_tokens": limit,
            "min_tokens": min(params.min_new_tokens, limit),
            "temperature": params.temperature,
            "top_k": params.top_k or -1,
            "top_p": params.top_p,
            "repetition_penalty": params.repetition_penalty,
            "stop_token_ids": list(params.stop_ids),
            "seed": params.seed,
            "n": params.n,
            "logit_bias": self._bias,
            "ignore_eos": not params.stop_ids,
        }

    def _steps(self, data: str, params: SamplingParams) -> list[Step]:
        """The steps in one event of the stream."""
        try:
            event = json.loads(data)
            if "error" in event:
                raise EngineError(f"{self._there} failed: {_message(event)}")
            return [self._step(choice, params) for choice in event.get("choices", [])]
        except (ValueError, TypeError, AttributeError, KeyError) as error:
            raise EngineError(f"{self._there} sent what is no completion: {data[:200]}") from error

    def _step(self, choice: dict[str, Any], params: SamplingParams) -> Step:
        ids, reason = choice.get("token_ids"), choice.get("finish_reason")
        if ids is None and (choice.get("text") or not reason):
            raise EngineError(
                f"{self._there} gives no token ids back: serve the model with one that knows return_token_ids "
                "(vLLM 0.10.2 or newer, or chatgpt2 serve)"
            )
        if reason not in (None, "stop", "length"):
            raise EngineError(f"{self._there} ended the reply early: {reason}")
        finish: Finish | None = reason
        kept = [int(i) for i in ids or [] if i not in params.stop_ids]
        return Step(kept, finish, int(choice.get("index", 0)))

    async def _first_model(self) -> str:
        response = await self._client().get(f"{self._url}/models")
        await self._check(response)
        try:
            self._model = str(response.json()["data"][0]["id"])
        except (ValueError, LookupError, TypeError) as error:
            raise EngineError(f"{self._there}/models lists no model") from error
        return self._model

    async def _check(self, response: httpx.Response) -> None:
        """Raise for anything but success: _Asleep where another attempt may help."""
        if response.is_success:
            return
        text = (await response.aread()).decode(errors="replace")
        try:
            text = _message(json.loads(text))
        except ValueError:
            text = " ".join(text.split())[:200]
        if response.is_server_error or response.status_code == httpx.codes.TOO_MANY_REQUESTS:
            raise _Asleep(response, text)
        raise EngineError(f"{self._there} refused ({response.status_code}): {text}")

    async def check(self) -> None:
        """See `Checkable`. The server is asked for its models; who asks again soon gets the same answer."""
        if self._found is None or time.monotonic() - self._found[0] > _FRESH_SECONDS:
            why = await self._why_not()
            self._found = time.monotonic(), why
        if self._found[1]:
            raise EngineError(self._found[1])

    async def _why_not(self) -> str | None:
        """Why the server would not answer now; None: it would."""
        try:
            await self._check(await self._client().get(f"{self._url}/models", timeout=_LOOK_SECONDS))
        except (httpx.HTTPError, _Asleep) as error:
            return str(_given_up(self._there, error))
        except EngineError as error:
            return str(error)
        return None

    def _client(self) -> httpx.AsyncClient:
        if self._closed:
            raise EngineError("the engine is closed")
        loop = asyncio.get_running_loop()
        client = self._clients.get(loop)
        if client is None:
            limits = httpx.Limits(max_connections=None)
            try:
                client = httpx.AsyncClient(headers=self._headers, timeout=self._timeout, limits=limits)
            except (ImportError, ValueError) as error:  # a proxy of a kind that httpx does not know
                raise EngineError(
                    f"the proxy in ALL_PROXY or HTTP(S)_PROXY cannot be used ({error}): set NO_PROXY for "
                    f"{self._there}, or pip install 'httpx[socks]'"
                ) from error
            self._clients[loop] = client
        return client

    async def close(self) -> None:
        """Close the connections of this event loop; running replies end with an error."""
        self._closed = True
        client = self._clients.pop(asyncio.get_running_loop(), None)
        if client is not None:
            await client.aclose()


class _Asleep(Exception):
    """The server answers, but not now; maybe `after` so many seconds."""

    def __init__(self, response: httpx.Response, text: str) -> None:
        self.status = response.status_code
        asked = response.headers.get("retry-after", "")  # or a date, which nobody here sends
        self.after = float(asked) if asked.isdecimal() else 0.0
        super().__init__(f"{self.status}: {text}")


def _given_up(url: str, error: Exception) -> EngineError:
    if isinstance(error, _Asleep):
        kind = EngineBusy if error.status == httpx.codes.TOO_MANY_REQUESTS else EngineError
        when = f"in {error.after:.0f} seconds" if error.after else "later"
        return kind(f"{url} does not answer now ({error}): try again {when}")
    return EngineError(f"{url} cannot be reached ({_what(error)}): is the server running there?")


def _what(error: Exception) -> str:
    return str(error) or type(error).__name__


def _message(body: Any) -> str:
    """What OpenAI's error shape says, or vLLM's older one."""
    error = body.get("error", body) if isinstance(body, dict) else body
    return str(error.get("message", error) if isinstance(error, dict) else error)
