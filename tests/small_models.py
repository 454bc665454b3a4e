"""Three models of 100,000 weights that learn a few sentences by heart in seconds, saved as anybody would."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import GPT2Config, GPT2LMHeadModel, PreTrainedTokenizerFast

from chatgpt2.card import Card
from chatgpt2.checkpoint import save_checkpoint
from chatgpt2.codec import Codec
from chatgpt2.dialogue import Dialogue
from chatgpt2.textcodec import TextCodec
from chatgpt2.tokenizer import char_tokenizer
from chatgpt2.vocabulary import SPECIAL, vocabulary_hash

TALKS = (
    ("你好", "你好呀", "你是谁", "我是小机器人"),
    ("今天天气真好", "是啊一起去爬山吧", "去哪里", "去香山看红叶"),
    ("你吃饭了吗", "吃了红烧肉", "好吃吗", "很好吃"),
    ("再见", "明天见"),
)
TEXTS = (
    "The monkey king went to the west with his master.",
    "那猴王在水帘洞里吃桃子，唐僧念经。",
    "Once upon a time there was a stone egg on the mountain 花果山.",
)

POEMS = ("床前明月光，疑是地上霜。", "举头望明月，低头思故乡。", "春眠不觉晓，处处闻啼鸟。")


def train(model: GPT2LMHeadModel, rows: Sequence[Sequence[int]], steps: int = 120) -> GPT2LMHeadModel:
    """With one thread: matrices this small gain nothing from several, and lose much on a machine that is busy."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    width = max(map(len, rows))
    ids = torch.tensor([[*row, *[0] * (width - len(row))] for row in rows])
    known = torch.tensor([[1] * len(row) + [0] * (width - len(row)) for row in rows])
    optimizer = torch.optim.AdamW(model.parameters(), lr=5e-3)
    for _ in range(steps):
        loss = model(input_ids=ids, attention_mask=known, labels=ids.masked_fill(known == 0, -100)).loss
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    torch.set_num_threads(before)
    return model.eval()


def network(vocabulary: int, window: int = 64, **special: int | None) -> GPT2LMHeadModel:
    torch.manual_seed(0)
    config = GPT2Config(
        vocab_size=vocabulary, n_positions=window, n_embd=64, n_layer=2, n_head=2, resid_pdrop=0.0,
        embd_pdrop=0.0, attn_pdrop=0.0, **special,
    )  # fmt: skip
    return GPT2LMHeadModel(config)


def dialogue_codec() -> Codec:
    return Codec([*SPECIAL, *dict.fromkeys("".join(map("".join, TALKS)))], window=64)


def save_dialogue_model(folder: Path, steps: int = 120) -> Path:
    """Knows TALKS by heart."""
    codec = dialogue_codec()
    rows = [codec.encode(Dialogue.of(talk))[0].ids for talk in TALKS]
    special = {"bos_token_id": codec.cls_id, "eos_token_id": codec.sep_id, "pad_token_id": codec.pad_id}
    model = train(network(len(codec.vocabulary), **special), rows, steps)
    save_checkpoint(folder, model, codec, Card(vocabulary_hash=vocabulary_hash(codec.vocabulary), window=64))
    return folder


def save_text_model(folder: Path, steps: int = 120) -> Path:
    """Knows TEXTS by heart, with the byte-level tokenizer of the English GPT-2, by transformers alone."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=320, special_tokens=["<|endoftext|>"], initial_alphabet=alphabet, show_progress=False
    )
    tokenizer.train_from_iterator(TEXTS, trainer)
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token="<|endoftext|>", eos_token="<|endoftext|>", model_max_length=64
    )
    end = fast.eos_token_id
    rows = [[*fast.encode(text), end] for text in TEXTS]
    model = train(network(len(fast), bos_token_id=end, eos_token_id=end), rows, steps)
    model.save_pretrained(folder)
    fast.save_pretrained(str(folder))
    return folder


def save_char_model(folder: Path, steps: int = 120) -> Path:
    """Knows POEMS by heart, character by character, each between bos and eos, as `train-text` leaves a model."""
    codec = TextCodec(char_tokenizer(POEMS), 64, wrapped=True).shaped()
    examples = codec.encode_lines(POEMS, wrap=True)
    bounds = zip(examples.offsets[:-1], examples.offsets[1:], strict=True)
    rows = [examples.ids[begin:end].tolist() for begin, end in bounds]
    special = {"bos_token_id": codec.bos_id, "eos_token_id": codec.eos_id, "pad_token_id": codec.pad_id}
    model = train(network(len(codec.vocabulary), **special), rows, steps)
    digest = vocabulary_hash(codec.vocabulary)
    card = Card(vocabulary_hash=digest, window=64, learn="lines", objective="text", tokenizer="char")
    save_checkpoint(folder, model, codec, card)
    return folder
