from __future__ import annotations

import json
import os
import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chatgpt2.codec import Codec
from chatgpt2.dialogue import Dialogue, Turn
from chatgpt2.errors import CheckpointError, ConfigError
from chatgpt2.examples import Example
from chatgpt2.vocabulary import SPECIAL, default_vocabulary, save_vocabulary

CODEC = Codec(default_vocabulary())
PLACE = {entry: i for i, entry in enumerate(CODEC.vocabulary)}
SMALL = Codec(default_vocabulary(), window=12)


def tokens(example: Example, codec: Codec = CODEC) -> str:
    """The example with a `*` after each token to be learned."""
    return " ".join(
        codec.vocabulary[i] + "*" * learn for i, learn in zip(example.ids, example.learn, strict=True)
    )


def texts(codec: Codec, *sizes: int) -> Dialogue:
    """A dialogue whose turns have these many tokens, all different."""
    han = iter(codec.vocabulary[1000:])
    return Dialogue.of("".join(next(han) for _ in range(size)) for size in sizes)


def test_ids_by_name() -> None:
    named = (CODEC.pad_id, CODEC.unk_id, CODEC.cls_id, CODEC.sep_id, CODEC.mask_id)
    assert tuple(CODEC.vocabulary[i] for i in named) == SPECIAL
    assert CODEC.stop_ids == (CODEC.sep_id,)
    banned = [CODEC.vocabulary[i] for i in CODEC.banned_ids]
    assert banned == ["[PAD]", "[UNK]", "[CLS]", "[MASK]", *(f"[unused{n}]" for n in range(1, 12))]


def test_the_format() -> None:
    dialogue = Dialogue.of(["你好", "在的", "ok?"])
    assert [tokens(e) for e in CODEC.encode(dialogue)] == [
        "[CLS] 你* 好* [SEP]* 在* 的* [SEP]* ok* ?* [SEP]*"
    ]
    assert [tokens(e) for e in CODEC.encode(dialogue, "bot")] == [
        "[CLS] 你 好 [SEP] 在* 的* [SEP]* ok ? [SEP]"
    ]


def test_nothing_to_learn_gives_no_example() -> None:
    assert CODEC.encode(Dialogue()) == []
    assert CODEC.encode(Dialogue.of(["你好"]), "bot") == []
    assert len(CODEC.encode(Dialogue.of(["你好"], first="bot"), "bot")) == 1
    with pytest.raises(ConfigError, match="all or bot"):
        CODEC.encode(Dialogue.of(["你好"]), "user")  # type: ignore[arg-type]


def test_a_typed_separator_does_not_end_a_turn() -> None:
    [example] = CODEC.encode(Dialogue.of(["a[SEP]b[CLS]", "[PAD]"]))
    assert example.ids.count(CODEC.sep_id) == 2
    assert example.ids.count(CODEC.cls_id) == 1
    assert CODEC.pad_id not in example.ids


def test_a_long_dialogue_is_split_with_one_turn_of_overlap() -> None:
    dialogue = Dialogue.of(["一二三", "四五六", "七八", "九", "十"])
    assert [tokens(e) for e in SMALL.encode(dialogue)] == [
        "[CLS] 一* 二* 三* [SEP]* 四* 五* 六* [SEP]* 七* 八* [SEP]*",
        "[CLS] 七 八 [SEP] 九* [SEP]* 十* [SEP]*",
    ]
    examples = SMALL.encode_all([dialogue])
    assert (examples.split, examples.cut, examples.characters.tolist()) == (1, 0, [8, 2])


def test_overlap_keeps_its_end_where_there_is_no_room_for_all_of_it() -> None:
    dialogue = Dialogue.of(["一二三四五六七八", "甲乙丙丁戊己"])
    assert [tokens(e) for e in SMALL.encode(dialogue)] == [
        "[CLS] 一* 二* 三* 四* 五* 六* 七* 八* [SEP]*",
        "[CLS] 六 七 八 [SEP] 甲* 乙* 丙* 丁* 戊* 己* [SEP]*",
    ]


def test_a_turn_longer_than_the_window_is_cut_and_counted() -> None:
    dialogue = Dialogue.of(["你", "一二三四五六七八九十东西", "好"])
    assert [tokens(e) for e in SMALL.encode(dialogue)] == [
        "[CLS] 你* [SEP]*",
        "[CLS] 一* 二* 三* 四* 五* 六* 七* 八* 九* 十* [SEP]",
        "[CLS] 五 六 七 八 九 十 东 西 [SEP] 好* [SEP]*",
    ]
    examples = SMALL.encode_all([dialogue])
    assert (examples.split, examples.cut, examples.characters.tolist()) == (1, 1, [1, 10, 1])
    alone = SMALL.encode_all([Dialogue.of(["一二三四五六七八九十东西"])])
    assert (alone.split, alone.cut, len(alone)) == (0, 1, 1)


def test_learning_the_bot_only_leaves_out_examples_without_it() -> None:
    dialogue = Dialogue.of(["一二三四五六七", "甲乙", "丙丁戊己庚辛壬癸"])
    assert [tokens(e) for e in SMALL.encode(dialogue, "bot")] == [
        "[CLS] 一 二 三 四 五 六 七 [SEP] 甲* 乙* [SEP]*".replace(
            "一 二 三 四 五 六 七", "一 二 三 四 五 六 七"
        )
    ]


@settings(deadline=None, max_examples=60)
@given(st.lists(st.lists(st.integers(0, 30), max_size=8), max_size=5), st.integers(8, 40))
def test_every_token_is_learned_once(sizes: list[list[int]], window: int) -> None:
    codec = Codec(CODEC.vocabulary, window)
    dialogues = [texts(codec, *turns) for turns in sizes]
    together = codec.encode_all(dialogues)
    apart = [codec.encode(dialogue) for dialogue in dialogues]
    assert [together[i] for i in range(len(together))] == [e for examples in apart for e in examples]
    assert together.dialogue.tolist() == [d for d, examples in enumerate(apart) for _ in examples]
    for turns, dialogue, examples in zip(sizes, dialogues, apart, strict=True):
        learned = []
        for example in examples:
            assert 1 < len(example.ids) <= window
            assert example.ids[0] == codec.cls_id and example.ids[-1] == codec.sep_id
            assert not example.learn[0] and any(example.learn)
            learned += [i for i, learn in zip(example.ids, example.learn, strict=True) if learn]
        whole = max(turns, default=0) <= window - 2
        wanted = [PLACE[entry] for turn in dialogue.turns for entry in (*turn.text, "[SEP]")]
        assert learned == wanted if whole else len(learned) < len(wanted)


def test_a_prompt_ends_after_the_user() -> None:
    dialogue = Dialogue.of(["你好", "在的", "吃了吗"])
    names = [CODEC.vocabulary[i] for i in CODEC.prompt(dialogue, 100)]
    assert names == ["[CLS]", *"你好", "[SEP]", *"在的", "[SEP]", *"吃了吗", "[SEP]"]
    [example] = CODEC.encode(dialogue.say("bot", "吃了"))
    assert example.ids[: len(names)] == CODEC.prompt(dialogue, 100)


def test_it_must_be_the_bots_turn() -> None:
    for dialogue in (Dialogue(), Dialogue.of(["你好", "在的"])):
        with pytest.raises(ValueError, match="ends with a turn of the user"):
            CODEC.prompt(dialogue, 100)


def test_the_opening_stays_and_an_over_long_message_keeps_its_end() -> None:
    opening = [Turn("user", "你是谁"), Turn("bot", "小白")]
    dialogue = texts(CODEC, 5, 5, 30)
    prompt = CODEC.prompt(dialogue, 20, opening)
    assert len(prompt) == 20
    assert CODEC.decode(prompt[:8]) == "你是谁小白"
    assert CODEC.decode(prompt[8:]) == dialogue.turns[-1].text[-11:]
    with pytest.raises(ConfigError, match="no room"):
        CODEC.prompt(dialogue, 9, opening)
    assert len(CODEC.prompt(dialogue, 10, opening)) == 10


@settings(deadline=None, max_examples=60)
@given(
    st.lists(st.integers(1, 25), min_size=1, max_size=60), st.integers(12, 60), st.booleans(), st.booleans()
)
def test_old_turns_go_in_one_go_and_seldom(
    sizes: list[int], room: int, persona: bool, bot_first: bool
) -> None:
    opening = [Turn("user", "一"), Turn("bot", "二")] if persona else []
    turns = texts(CODEC, *sizes).turns
    dialogue = Dialogue.of((turn.text for turn in turns), "bot" if bot_first else "user")
    before: list[int] = []
    for end in range(1, len(dialogue) + 1):
        so_far = Dialogue(dialogue.turns[:end])
        if so_far.turns[-1].role == "bot":
            continue
        prompt = CODEC.prompt(so_far, room, opening)
        assert len(prompt) <= room
        assert prompt == CODEC.prompt(so_far, room, opening)
        kept = CODEC.decode(prompt[1 + 4 * persona :])
        said = "".join(turn.text for turn in so_far.turns)
        assert said.endswith(kept) and (said == kept or so_far.turns[-1].text.endswith(kept[-1]))
        if prompt[: len(before)] != before:  # turns went: at most 60 % is used, or one message is left
            left = room - 1 - 4 * persona
            assert len(prompt) - 1 - 4 * persona <= 0.6 * left or kept in so_far.turns[-1].text
        before = prompt


def test_the_same_ids_in_a_copy_from_another_process() -> None:
    copy = pickle.loads(pickle.dumps(SMALL))
    assert (copy.fingerprint, copy.window, copy.lowercase) == (SMALL.fingerprint, 12, False)
    assert copy.encode(Dialogue.of(["你好"])) == SMALL.encode(Dialogue.of(["你好"]))


def test_fingerprints() -> None:
    entries = CODEC.vocabulary
    others = [Codec(entries, 256), Codec(entries, lowercase=True), Codec([*entries, "brand"])]
    assert len({codec.fingerprint for codec in (CODEC, *others)}) == 4
    assert Codec(entries).fingerprint == CODEC.fingerprint


def test_lower_casing_follows_the_vocabulary() -> None:
    assert Codec([*SPECIAL, "a", "<S>"]).lowercase
    assert not Codec([*SPECIAL, "a", "A"]).lowercase
    assert not Codec([*SPECIAL, "a"], lowercase=False).lowercase


def test_codecs_that_cannot_be() -> None:
    with pytest.raises(ConfigError, match="window of 7"):
        Codec(default_vocabulary(), 7)
    with pytest.raises(CheckpointError, match="missing"):
        Codec(["a"])


@pytest.mark.parametrize("lowercase", [False, True])
def test_saved_and_loaded(tmp_path: Path, lowercase: bool) -> None:
    codec = Codec([*default_vocabulary(), "\u2028"], 300, lowercase)
    codec.save(tmp_path)
    assert Codec.load(tmp_path).fingerprint == codec.fingerprint
    assert {"tokenizer.json", "tokenizer_config.json", "vocab.txt"} <= {p.name for p in tmp_path.iterdir()}
    (tmp_path / "config.json").write_text('{"model_type": "gpt2", "n_positions": 1024}')
    assert Codec.load(tmp_path).window == 300

    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(tmp_path)
    assert len(tokenizer) == len(codec.vocabulary)
    assert type(tokenizer).__name__ in ("BertTokenizer", "BertTokenizerFast")
    assert (tokenizer.bos_token, tokenizer.eos_token, tokenizer.pad_token) == ("[CLS]", "[SEP]", "[PAD]")
    assert (tokenizer.bos_token_id, tokenizer.eos_token_id, tokenizer.pad_token_id) == (2, 3, 0)
    text = "Hello 你好，3.14 😂 don't"
    assert tokenizer(text, add_special_tokens=False)["input_ids"] == codec.encode_texts([text])[0].tolist()


def test_a_foreign_directory_with_only_a_vocabulary(tmp_path: Path) -> None:
    entries = [*SPECIAL, "a", "你", "\u2028"]
    save_vocabulary(entries, tmp_path / "vocab.txt")
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "gpt2", "n_ctx": 300}))
    codec = Codec.load(tmp_path)
    assert (codec.vocabulary, codec.window, codec.lowercase) == (entries, 300, True)
    (tmp_path / "config.json").unlink()
    (tmp_path / "tokenizer_config.json").write_text('{"do_lower_case": false, "model_max_length": 1e30}')
    codec = Codec.load(tmp_path)
    assert (codec.window, codec.lowercase) == (512, False)


def test_added_tokens_have_their_place(tmp_path: Path) -> None:
    vocab = {token: i for i, token in enumerate((*SPECIAL, "你"))}
    added = [{"id": 6, "content": "[Q]"}, {"id": 3, "content": "[SEP]"}]
    saved = {"model": {"type": "WordPiece", "vocab": vocab}, "added_tokens": added, "normalizer": None}
    (tmp_path / "tokenizer.json").write_text(json.dumps(saved))
    codec = Codec.load(tmp_path)
    assert codec.vocabulary == [*SPECIAL, "你", "[Q]"]
    assert 6 in codec.banned_ids


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({}, "no tokenizer in it"),
        ({"tokenizer.json": '{"model": {"type": "BPE"}}'}, "a BPE tokenizer"),
        ({"tokenizer.json": "{"}, "cannot be read as JSON"),
        ({"tokenizer.json": '{"model": {"type": "WordPiece", "vocab": {"a": 7}}}'}, "are not 0 to 0"),
        ({"vocab.txt": "a\n"}, "missing"),
        (
            {
                "vocab.txt": "\n".join(SPECIAL),
                "tokenizer_config.json": '{"tokenize_chinese_chars": false}',
            },
            "Han characters",
        ),
    ],
)
def test_directories_that_hold_no_tokenizer(tmp_path: Path, files: dict[str, str], message: str) -> None:
    for name, content in files.items():
        (tmp_path / name).write_text(content)
    with pytest.raises(CheckpointError, match=message):
        Codec.load(tmp_path)


def test_offsets_of_encoded_texts() -> None:
    ids, offsets = CODEC.encode_texts(["你好", "", "ok"])
    assert offsets.tolist() == [0, 2, 2, 3]
    assert (ids.dtype, offsets.dtype) == (np.int32, np.int64)


def test_importing_the_codec_loads_neither_torch_nor_transformers() -> None:
    code = "import sys, chatgpt2.codec; print({'torch', 'transformers'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


@pytest.mark.parametrize("name", ["bert_base_chinese_21128.txt", "chitchat_13317.txt"])
def test_real_dialogues_come_back(name: str, tmp_path: Path) -> None:
    if "CHATGPT2_DATA" not in os.environ:
        pytest.skip("CHATGPT2_DATA is not set")
    from chatgpt2.corpus import read_corpus

    data = Path(os.environ["CHATGPT2_DATA"])
    (tmp_path / "vocab.txt").write_bytes((data / "vocab" / name).read_bytes())
    codec = Codec.load(tmp_path)
    same = total = 0
    for dialogue in read_corpus(data / "dialogues" / "gpt2chitchat_shard0.txt"):
        for turn in dialogue.turns:
            ids, _ = codec.encode_texts([turn.text])
            total += 1
            same += codec.decode(ids.tolist()) == turn.text.lower()
    assert same / total > 0.99
