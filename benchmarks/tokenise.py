"""How fast text becomes tokens, beside BertTokenizerFast.

    python benchmarks/tokenise.py [--json] [--vocabulary FILE] [CORPUS…]

One vocabulary, one corpus (without an argument: the bundled one), four ways:

    fast         Codec.encode_texts on all utterances at once, with a codec that has not seen any text yet,
                 and again with what it has learned
    batch        BertTokenizerFast on lists of 1,000 utterances
    one by one   BertTokenizerFast called once per utterance, on at most 20,000 of them
    end to end   files → token file on disk with nothing cached: reading, detecting, tokenising, writing

It also checks that the first three give the same ids, and prints tokens per second and the ratios.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Callable, Sequence
from itertools import pairwise
from pathlib import Path
from typing import TypeVar

from transformers import BertTokenizer  # since transformers 5 also called BertTokenizerFast

from chatgpt2.codec import Codec
from chatgpt2.corpus import bundled_corpus, read_corpus
from chatgpt2.tokens import tokenise
from chatgpt2.vocabulary import default_vocabulary, load_vocabulary

ONE_BY_ONE = 20_000
BATCH = 1_000

T = TypeVar("T")
Ids = list[list[int]]


def timed(work: Callable[[], T]) -> tuple[T, float]:
    start = time.perf_counter()
    result = work()
    return result, time.perf_counter() - start


def in_batches(tokenizer: BertTokenizer, texts: Sequence[str]) -> Ids:
    ids: Ids = []
    for start in range(0, len(texts), BATCH):
        ids += tokenizer(list(texts[start : start + BATCH]), add_special_tokens=False)["input_ids"]
    return ids


def one_by_one(tokenizer: BertTokenizer, texts: Sequence[str]) -> Ids:
    return [tokenizer(text, add_special_tokens=False)["input_ids"] for text in texts]


def measure(paths: Sequence[Path], vocabulary: list[str]) -> dict[str, float | bool]:
    texts = [turn.text for path in paths for dialogue in read_corpus(path) for turn in dialogue.turns]
    codec = Codec(vocabulary)
    entries = {entry: i for i, entry in enumerate(vocabulary)}
    tokenizer = BertTokenizer(vocab=entries, do_lower_case=codec.lowercase, split_special_tokens=True)
    mapping = str.maketrans(codec.text_mapping)
    mapped = [text.translate(mapping) for text in texts]

    (flat, offsets), fast_seconds = timed(lambda: codec.encode_texts(texts))
    _, again_seconds = timed(lambda: codec.encode_texts(texts))
    batch, batch_seconds = timed(lambda: in_batches(tokenizer, mapped))
    single, single_seconds = timed(lambda: one_by_one(tokenizer, mapped[:ONE_BY_ONE]))
    with tempfile.TemporaryDirectory() as cache:
        file, whole_seconds = timed(lambda: tokenise(paths, Codec(vocabulary), cache=Path(cache)))
    fast = [flat[a:b].tolist() for a, b in pairwise(offsets)]

    fast_speed = len(flat) / fast_seconds
    batch_speed = len(flat) / batch_seconds
    single_speed = sum(map(len, single)) / single_seconds
    return {
        "utterances": len(texts),
        "tokens": len(flat),
        "identical": fast == batch and fast[:ONE_BY_ONE] == single,
        "fast_tokens_per_second": round(fast_speed),
        "fast_again_tokens_per_second": round(len(flat) / again_seconds),
        "batch_tokens_per_second": round(batch_speed),
        "one_by_one_tokens_per_second": round(single_speed),
        "end_to_end_tokens_per_second": round(file.counts.tokens / whole_seconds),
        "ratio_to_batch": round(fast_speed / batch_speed, 1),
        "ratio_to_one_by_one": round(fast_speed / single_speed, 1),
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("corpus", nargs="*", type=Path)
    parser.add_argument("--vocabulary", type=Path)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    vocabulary = load_vocabulary(options.vocabulary) if options.vocabulary else default_vocabulary()
    found = measure(options.corpus or [bundled_corpus()], vocabulary)
    if options.json:
        print(json.dumps(found))
        return
    for name, value in found.items():
        print(f"{name.replace('_', ' '):<32}{value:>14,}" if value is not True else f"{name:<32}{'yes':>14}")


if __name__ == "__main__":
    main()
