"""Other heads on a GPT-2: classes, a number for a text, a value beside the next token, a fresh head that writes."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn
from transformers import GPT2Config, GPT2ForSequenceClassification, GPT2LMHeadModel
from transformers.modeling_outputs import CausalLMOutputWithCrossAttentions

from chatgpt2.anycodec import check_fit
from chatgpt2.card import Card
from chatgpt2.checkpoint import AnyCheckpoint, is_adapter, load_any, place
from chatgpt2.errors import CheckpointError
from chatgpt2.hub import locate
from chatgpt2.textcodec import TextCodec
from chatgpt2.weights import CLASSIFIER, read_config, read_model

Head = Literal["classification", "regression", "value", "lm"]
MODULES: dict[Head, str] = {
    "classification": "score",
    "regression": "score",
    "value": "value_head",
    "lm": "lm_head",
}
"""What each head is called in its model."""


@dataclass
class ValueOutput(CausalLMOutputWithCrossAttentions):
    """What a ValueModel gives for rows of ids.

    logits        [rows, length, vocabulary] of the next token, as GPT2LMHeadModel gives them
    text_values   [rows] of the whole text, after its last token that is not padding
    token_values  [rows, length] after each token
    """

    text_values: Tensor | None = None
    token_values: Tensor | None = None


class ValueModel(GPT2LMHeadModel):  # type: ignore[no-untyped-call]
    """A GPT-2 that writes and judges: one forward pass gives the logits of the next token and values.

    `ValueModel.from_pretrained(DIR)` loads what `chatgpt2 train-classifier --head value` wrote. `generate` works as
    with GPT2LMHeadModel, which loads the same directory without its values.
    """

    def __init__(self, config: GPT2Config) -> None:
        super().__init__(config)
        self.value_head = nn.Sequential(
            nn.Linear(config.n_embd, config.n_embd),
            nn.Tanh(),
            nn.Dropout(config.summary_first_dropout),
            nn.Linear(config.n_embd, 1),
        )
        self.post_init()  # type: ignore[no-untyped-call]

    def forward(self, input_ids: Tensor, attention_mask: Tensor | None = None, **others: Any) -> ValueOutput:
        """`input_ids` [rows, length]; `attention_mask` [rows, length] is 0 at padding. Without it the config's pad
        token is padding where it follows the text, or comes before it. Others are those of GPT2LMHeadModel."""
        others.pop("return_dict", None)
        others["output_hidden_states"] = True
        found = super().forward(input_ids=input_ids, attention_mask=attention_mask, **others)
        values = self.value_head(found.hidden_states[-1]).squeeze(-1)  # [rows, length]
        last = self._last(input_ids, attention_mask)[:, None]
        return ValueOutput(**found, text_values=values.gather(1, last).squeeze(1), token_values=values)

    def _last(self, ids: Tensor, mask: Tensor | None) -> Tensor:
        """[rows] the place of each row's last token that is not padding."""
        length = ids.shape[1]
        real = mask[:, -length:].long() if mask is not None else (ids != self._pad).long()
        return (real * torch.arange(length, device=ids.device)).argmax(-1)

    @property
    def _pad(self) -> int:
        pad = self.config.pad_token_id
        return -1 if pad is None else int(pad)


def with_head(model: GPT2LMHeadModel, head: Head, labels: Sequence[str], seed: int) -> Any:
    """The backbone of `model` under a new head with random weights.

    labels  the classes in order; of a regression what the number is called
    """
    torch.manual_seed(seed)
    config = copy.deepcopy(model.config)
    if head == "lm":
        config.tie_word_embeddings = False
    elif head != "value":
        config.id2label = dict(enumerate(labels))
        config.label2id = {label: number for number, label in enumerate(labels)}
        config.problem_type = "regression" if head == "regression" else "single_label_classification"
    kinds: dict[Head, Any] = {"value": ValueModel, "lm": GPT2LMHeadModel}
    made = kinds.get(head, GPT2ForSequenceClassification)(config)
    made.transformer = model.transformer
    if head == "value":
        made.lm_head = model.lm_head
        if config.tie_word_embeddings:
            made.tie_weights()
    return made.eval()


@dataclass(frozen=True)
class Judge:
    """A model that judges texts, loaded from `path`.

    head    classification, regression or value
    labels  its classes; of the others what the number is called
    """

    model: Any
    codec: TextCodec
    card: Card
    path: Path
    head: Head
    labels: tuple[str, ...]


def open_any(name: str | Path) -> AnyCheckpoint | Judge:
    """A model of whatever kind: one that judges with its head, else what `load_any` loads."""
    directory = locate(name)
    if is_adapter(directory):
        return load_any(directory)
    kinds = read_config(directory).architectures or ()
    return load_judge(directory) if {CLASSIFIER, ValueModel.__name__} & set(kinds) else load_any(directory)


def load_judge(name: str | Path, device: str = "cpu") -> Judge:
    """Load what train-classifier wrote, or any GPT2ForSequenceClassification with a fast tokenizer.

    Raises CheckpointError with one clear line when `name` is missing, judges nothing, or is not whole.
    """
    directory = locate(name)
    config, card = read_config(directory), Card.read(directory)
    kinds = config.architectures or ()
    if CLASSIFIER in kinds:
        model: Any = read_model(directory, GPT2ForSequenceClassification, config)
        number = config.problem_type == "regression" or config.num_labels == 1
        head: Head = "regression" if number else "classification"
    elif ValueModel.__name__ in kinds:
        model, head = read_model(directory, ValueModel, config), "value"
    else:
        raise CheckpointError(
            f"{directory} cannot judge, only write: `chatgpt2 train-classifier DATA --base {directory}` teaches it"
        )
    codec = TextCodec.load(directory).whole()
    check_fit(directory, model.config.vocab_size, model.config.n_positions, codec, card)
    place(model.eval(), device)
    labels = ("value",) if head == "value" else tuple(config.id2label[n] for n in range(config.num_labels))
    return Judge(model, codec, card or Card(), directory, head, labels)
