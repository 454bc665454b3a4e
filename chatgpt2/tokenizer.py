"""Tokenizers of transformers: opened whatever their age, made from a text, given special tokens."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, trainers

from chatgpt2.errors import CheckpointError, ConfigError
from chatgpt2.quiet import quiet_transformers
from chatgpt2.vocabulary import read_tokenizer
from chatgpt2.wordpiece import has_capitals

PAD, BOS, EOS = "<pad>", "<bos>", "<eos>"
_BYTES = [f"<0x{byte:02X}>" for byte in range(256)]


def open_tokenizer(directory: Path) -> Any:
    """The tokenizer of a directory. Older BERT ones are a bare vocab.txt, which transformers takes for none.

    Raises CheckpointError when there is none that can be used.
    """
    from transformers import AutoTokenizer  # takes seconds

    if not (directory / "tokenizer.json").exists() and not (directory / "merges.txt").exists():
        found = read_tokenizer(directory)
        lowercase = not has_capitals(found.entries) if found.lowercase is None else found.lowercase
        return bert_tokenizer(found.entries, lowercase)
    # The first GPT-2s lie beside a config.json that does not say what they are.
    kind = {} if (directory / "tokenizer.json").exists() else {"tokenizer_type": "gpt2"}
    try:
        with quiet_transformers():
            tokenizer = AutoTokenizer.from_pretrained(directory, local_files_only=True, **kind)
    except Exception as error:  # whatever a damaged file makes of its library
        why = next(iter(str(error).strip().splitlines()), type(error).__name__)
        raise CheckpointError(f"{directory}: its tokenizer cannot be loaded ({why})") from error
    if not getattr(tokenizer, "is_fast", False):
        raise CheckpointError(
            f"{directory}: its tokenizer has no tokenizer.json; save it again with transformers"
        )
    return tokenizer


def with_specials(tokenizer: Any, bos: str | None = None, eos: str | None = None) -> Any:
    """The tokenizer with these bos and eos tokens, which are added where it has no such entry.

    Where none are asked for and it has none, [CLS] and [SEP] serve, else a token of its own; pad is eos where
    there is none, as is usual with GPT-2.
    """
    entries = tokenizer.get_vocab()
    roles = (("bos_token", bos, ("[CLS]", BOS)), ("eos_token", eos, ("[SEP]", EOS)))
    for role, wanted, usual in roles:
        if wanted is None and getattr(tokenizer, role) is not None:
            continue
        name = wanted or next((each for each in usual if each in entries), usual[-1])
        token = AddedToken(name, special=True, normalized=False)
        tokenizer.add_special_tokens({role: token})
    if tokenizer.pad_token is None:
        tokenizer.pad_token = "[PAD]" if "[PAD]" in entries else tokenizer.eos_token
    return tokenizer


def bert_tokenizer(entries: Sequence[str], lowercase: bool) -> Any:
    """BERT's WordPiece, as dialogues have it."""
    from transformers import BertTokenizer

    made = BertTokenizer(vocab={entry: i for i, entry in enumerate(entries)}, do_lower_case=lowercase)
    return _wrap(made.backend_tokenizer, bos="[CLS]", eos="[SEP]", pad="[PAD]", unk="[UNK]")


def char_tokenizer(texts: Iterable[str]) -> Any:
    """A token for each character of `texts`; any other is written as its bytes, so nothing is ever lost."""
    found: set[str] = set()
    for text in texts:
        found.update(text)
    entries = dict.fromkeys((PAD, BOS, EOS, *_BYTES, *sorted(found)))
    model = models.BPE(vocab={entry: i for i, entry in enumerate(entries)}, merges=[], byte_fallback=True)
    backend = Tokenizer(model)
    backend.decoder = decoders.Sequence([decoders.ByteFallback(), decoders.Fuse()])
    return _wrap(backend)


def train_bpe(texts: Iterable[str], entries: int) -> Any:
    """A byte-level BPE tokenizer, as GPT-2's, of at most `entries` entries, trained on `texts`."""
    if entries < 300:
        raise ConfigError(f"--entries {entries}: 300 is the least")
    backend = Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=entries,
        special_tokens=[PAD, BOS, EOS],
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    backend.train_from_iterator(texts, trainer)
    return _wrap(backend)


def _wrap(backend: Tokenizer, bos: str = BOS, eos: str = EOS, pad: str = PAD, unk: str | None = None) -> Any:
    from transformers import PreTrainedTokenizerFast

    os.environ.setdefault("TOKENIZERS_PARALLELISM", "true")  # or it warns after every fork
    backend.add_special_tokens([AddedToken(t, special=True, normalized=False) for t in (pad, bos, eos)])
    return PreTrainedTokenizerFast(  # type: ignore[no-untyped-call]
        tokenizer_object=backend,
        bos_token=bos,
        eos_token=eos,
        pad_token=pad,
        unk_token=unk,
        clean_up_tokenization_spaces=False,
    )
