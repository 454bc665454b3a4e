"""The process behind the openvino engine: `python -m chatgpt2.engine.pipeline`, spoken to in `messages`.

GenAI's Python binding holds the interpreter during a step (2026.4): some milliseconds, or a tenth of a second while
long prompts are read. Here nobody else waits for the interpreter, and what crashes takes no caller along.
It steps on without asking, so that the engine's part of the work is done while this one computes.
"""

from __future__ import annotations

import os
import pickle
import queue
import signal
import sys
import threading
import time
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, BinaryIO

import numpy as np
import openvino_genai as genai
from openvino import Tensor

from chatgpt2.engine.base import Finish
from chatgpt2.engine.messages import Add, Command, Failure, Nudge, Packet, Said, Setup

_BLOCK = 32  # tokens in a block of the cache, on a CPU
_TINY = 1e-6
_RUNNING = genai.GenerationStatus.RUNNING
_FINISH: dict[Any, Finish | None] = {
    genai.GenerationFinishReason.NONE: None,
    genai.GenerationFinishReason.STOP: "stop",
    genai.GenerationFinishReason.LENGTH: "length",
}
# A small model makes a token in a millisecond, and the engine that wakes for each takes the processor from the next.
# So tokens wait for one another, but not longer than a reader could notice; the first and last of a reply do not.
# Of many replies each is slower, so theirs wait longer.
_BETWEEN_SECONDS, _LONGEST_BETWEEN, _FEW = 0.05, 0.25, 8
_SWITCH_SECONDS = 0.0002  # the reading thread gets the interpreter between two steps, however short they are


def scheduler(setup: Setup) -> Any:
    """GenAI's SchedulerConfig."""
    config = genai.SchedulerConfig()
    config.enable_prefix_caching = True
    # Room for all replies at their longest: where it is short GenAI (2026.4) puts replies off, and a reply that is
    # cancelled then leaves wrong tokens to others (see `Replies._cancel`). A reply owns its last block alone.
    running = setup.max_batch * -(-setup.window // _BLOCK)
    config.num_kv_blocks = max(running, -(-setup.prefix_tokens // _BLOCK)) + setup.max_batch
    config.max_num_seqs = setup.max_batch
    config.max_num_batched_tokens = setup.prompt_tokens_per_step
    config.dynamic_split_fuse = True
    return config


def load(setup: Setup) -> Any:
    """The ContinuousBatchingPipeline."""
    return genai.ContinuousBatchingPipeline(
        setup.folder, scheduler_config=scheduler(setup), device="CPU", properties=setup.properties
    )


@dataclass(eq=False, slots=True)
class _Reply:
    stops: frozenset[int]
    handle: Any = None  # a GenerationHandle, once GenAI has it
    begun: bool = False

    def turned(self) -> bool:
        """Whether the step gave the first token or the last."""
        status = self.handle.get_status()
        if status == _RUNNING and (self.begun or not self.handle.can_read()):
            return False
        if status == genai.GenerationStatus.IGNORED:
            raise RuntimeError("the cache is too small for this request")
        self.begun = True
        return True

    def read(self, name: int) -> Said | None:
        """The tokens since the last time; None when there are none."""
        ids: list[int] = []
        finish: Finish | None = None
        while self.handle and self.handle.can_read():
            for output in self.handle.read().values():
                ids += output.generated_ids
                finish = _FINISH[output.finish_reason]
        if finish == "stop" and ids and ids[-1] in self.stops:
            ids.pop()
        return Said(name, ids, finish) if ids or finish else None


class Replies:
    """The replies in the making."""

    def __init__(self, setup: Setup) -> None:
        self.pipeline = load(setup)
        self._most = setup.max_batch
        self._replies: dict[int, _Reply] = {}
        self._fresh: dict[int, Add] = {}  # those of them that GenAI does not have yet
        self._unwanted: list[_Reply] = []  # GenAI has them, and they have not begun
        self._leaving = 0  # cancelled ones, which hold their blocks until the next step ends
        self.nudged = False  # the engine does not want to wait for more tokens

    @property
    def idle(self) -> bool:
        return not self._replies and not self.pipeline.has_non_finished_requests()

    def do(self, command: Command) -> None:
        """Take a reply in, let go of it, or hurry."""
        if isinstance(command, Add):
            self._replies[command.reply] = _Reply(frozenset(command.params.stop_ids))
            self._fresh[command.reply] = command
        elif isinstance(command, Nudge):
            self.nudged = True
        else:
            self._drop(command.reply)

    def _drop(self, name: int) -> None:
        reply, fresh = self._replies.pop(name, None), self._fresh.pop(name, None)
        if reply and not fresh:  # else it has ended in the meantime, or GenAI never heard of it
            self._unwanted.append(reply)
            self._cancel()

    def _give(self) -> None:
        """Give GenAI as many as its cache has room for, the unwanted among them."""
        room = self._most - (len(self._replies) - len(self._fresh)) - len(self._unwanted) - self._leaving
        for name in list(self._fresh)[: max(room, 0)]:
            command = self._fresh.pop(name)
            prompt = Tensor(np.array([command.prompt], dtype=np.int64))
            self._replies[name].handle = self.pipeline.add_request(name, prompt, _config(command))

    def _cancel(self) -> None:
        """Let go of who is not wanted, once their prompts are read.

        What GenAI (2026.4) has not read yet when it is cancelled stays in its prefix cache as if it had been, and
        whoever begins alike gets wrong tokens.
        """
        for reply in self._unwanted:
            if reply.begun or reply.turned():
                reply.handle.cancel()
                self._leaving += 1
        self._unwanted = [reply for reply in self._unwanted if not reply.begun]

    def step(self) -> list[int]:
        """A token for all replies; which of them began or ended. What was cancelled is freed. Raises RuntimeError."""
        self._give()
        self.pipeline.step()
        self._leaving = 0
        self._cancel()
        return [name for name, reply in self._replies.items() if reply.handle and reply.turned()]

    @property
    def between(self) -> float:
        """Seconds between two times that all their tokens are taken."""
        return min(_BETWEEN_SECONDS * max(1, len(self._replies) / _FEW), _LONGEST_BETWEEN)

    def said(self, names: Iterable[int] | None = None) -> list[Said]:
        """The tokens of these replies (None: of all) that nobody took yet. Reading costs, so it is not done at every
        step."""
        names = self._replies if names is None else names
        said = [each for name in names if (each := self._replies[name].read(name))]
        for each in said:
            if each.finish:
                del self._replies[each.reply]
        return said


def _config(command: Add) -> Any:
    params, config = command.params, genai.GenerationConfig()
    config.max_new_tokens = command.limit
    config.min_new_tokens = min(params.min_new_tokens, command.limit)
    # GenAI takes single precision and refuses zero, which a tiny number becomes there.
    config.repetition_penalty = max(params.repetition_penalty, _TINY)
    config.do_sample = params.temperature > 0
    if config.do_sample:
        config.temperature = max(params.temperature, _TINY)
        config.top_p = max(params.top_p, _TINY)
        if params.top_k:
            config.top_k = params.top_k
    # Without an end-of-sequence id GenAI takes the tokenizer's, and ours has none.
    config.set_eos_token_id(min(params.stop_ids, default=0))
    config.stop_token_ids = set(params.stop_ids or (0,))
    config.ignore_eos = not params.stop_ids
    config.rng_seed = command.seed
    return config


def serve(commands: BinaryIO, packets: BinaryIO) -> None:
    """Answer commands until there are no more, which ends the process. Raises RuntimeError."""
    replies = Replies(pickle.load(commands))
    inbox: queue.SimpleQueue[list[Command]] = queue.SimpleQueue()
    sys.setswitchinterval(_SWITCH_SECONDS)
    threading.Thread(target=_listen, args=(commands, inbox), daemon=True).start()
    _send(packets, [])
    sent = 0.0
    while True:
        rested = replies.idle
        while replies.idle or not inbox.empty():
            for command in inbox.get():
                replies.do(command)
        if rested:  # a short reply is said in two parts, its first token and the rest
            sent = time.monotonic()
        if replies.nudged:
            _send(packets, replies.said())
            replies.nudged = False
        turned, now = replies.step(), time.monotonic()
        if now - sent >= replies.between:
            if said := replies.said():
                _send(packets, said)
            sent = now
        elif turned:
            _send(packets, replies.said(turned))


def _listen(commands: BinaryIO, inbox: queue.SimpleQueue[list[Command]]) -> None:
    """A thread of its own, so that the engine never waits for this process to read."""
    try:
        while True:
            inbox.put(pickle.load(commands))
    except (EOFError, pickle.UnpicklingError):  # the engine is gone, perhaps in the middle of a word
        os._exit(0)


def _send(packets: BinaryIO, packet: Packet) -> None:
    pickle.dump(packet, packets)
    packets.flush()


def main() -> None:
    """Serve the engine that started this process."""
    # systemd tells every process of a service to end; this one does when the last reply is out and its input closed.
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    # Libraries that print must not print into the conversation.
    packets = os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    try:
        serve(sys.stdin.buffer, packets)
    except BrokenPipeError:  # the engine is gone
        os._exit(0)
    except Exception as error:  # whatever it is, the callers are told
        _send(packets, Failure(f"{type(error).__name__}: {' '.join(str(error).split())}"))
        os._exit(1)


if __name__ == "__main__":
    main()
