"""Any tokenizer: nothing is lost, transformers sees the same ids, a bad directory is one clear line."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from transformers import AutoTokenizer, GPT2Config

from chatgpt2.codec import Codec
from chatgpt2.errors import CheckpointError, ConfigError
from chatgpt2.textcodec import TextCodec
from chatgpt2.tokenizer import bert_tokenizer, char_tokenizer, train_bpe, with_specials
from chatgpt2.vocabulary import SPECIAL, default_vocabulary

LINES = [
    "天地玄黄，宇宙洪荒。",
    "The quick brown fox, the lazy dog.",
    "日月盈昃，辰宿列张！",
    "  indented\ttabs ",
] * 20
TOKENIZERS: dict[str, Any] = {
    "char": lambda: char_tokenizer(LINES),
    "bpe": lambda: train_bpe(LINES, 400),
    "bert": lambda: bert_tokenizer(default_vocabulary(), lowercase=False),
}
SPELLED = st.sampled_from(
    ["<pa", "d>", "<0x41>", "\n", "\r\n", " ", "　", "é", "😀", "\x00", "天地", "Ġ", "##"]
)
TEXT = st.lists(st.text(max_size=8) | SPELLED, max_size=8).map("".join)


def made(kind: str, **options: Any) -> TextCodec:
    return TextCodec(TOKENIZERS[kind](), 32, **options).shaped()


@pytest.fixture(scope="module", params=list(TOKENIZERS))
def saved(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[TextCodec, Path]:
    codec = made(request.param, wrapped=True)
    folder = tmp_path_factory.mktemp(request.param)
    codec.save(folder)
    ids = {"bos_token_id": codec.bos_id, "eos_token_id": codec.eos_id}
    GPT2Config(vocab_size=len(codec.vocabulary), **ids).save_pretrained(folder)
    return codec, folder


@pytest.mark.parametrize("kind", ["char", "bpe"])
def test_any_text_comes_back_as_it_was(kind: str) -> None:
    codec = made(kind)

    @given(TEXT)
    @settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])
    def check(text: str) -> None:
        ids, offsets = codec.encode_texts([text, text])
        one = ids[: offsets[1]].tolist()
        if not set(one) & set(codec.tokenizer.all_special_ids):
            assert codec.decode(one) == text
        assert codec.tokenizer.decode(one, skip_special_tokens=False) == text
        assert ids[: offsets[1]].tolist() == ids[offsets[1] :].tolist()

    check()


def test_transformers_gives_the_same_ids(saved: tuple[TextCodec, Path]) -> None:
    codec, folder = saved
    theirs = AutoTokenizer.from_pretrained(folder)
    for text in (*LINES, "没见过的字：龘 😀"):
        assert theirs(text, add_special_tokens=False).input_ids == codec.encode_texts([text])[0].tolist()
        assert theirs(text).input_ids == codec.begin(text)
    assert (theirs.bos_token_id, theirs.eos_token_id, theirs.pad_token_id) == (
        codec.bos_id,
        codec.eos_id,
        codec.pad_id,
    )


def test_a_saved_codec_is_the_same_when_loaded(saved: tuple[TextCodec, Path]) -> None:
    codec, folder = saved
    again = TextCodec.load(folder)
    assert (again.kind, again.window, again.wrapped) == (codec.kind, codec.window, codec.wrapped)
    assert again.vocabulary == codec.vocabulary
    assert again.fingerprint == codec.fingerprint
    assert again.banned_ids == codec.banned_ids


def test_bert_writes_the_ids_that_dialogues_have() -> None:
    ours, dialogues = made("bert"), Codec(default_vocabulary(), 32)
    assert ours.encode_texts(LINES)[0].tolist() == dialogues.encode_texts(LINES)[0].tolist()
    assert ours.decode(ours.encode_texts(["我爱 hello world"])[0].tolist()) == "我爱hello world"


def test_only_of_bert_is_it_known_what_no_text_gives() -> None:
    entries = [*SPECIAL, *"ab天地", "##地", "##b"]
    for lowercase in (False, True):
        codec = TextCodec(bert_tokenizer(entries, lowercase), 32)
        assert codec.unwritten_ids == Codec(entries, 32, lowercase).unwritten_ids == (entries.index("##地"),)
    assert made("char").unwritten_ids == made("bpe").unwritten_ids == ()
    added = bert_tokenizer(entries[:-2], lowercase=False)
    added.add_tokens(["##地"])  # taken for what it is wherever it stands
    assert TextCodec(added, 32).unwritten_ids == ()


def test_lines_stand_between_bos_and_eos_and_every_token_is_learned_once() -> None:
    codec = made("char", wrapped=True)
    texts = ["天地", "天" * 70, ""]
    examples = codec.encode_lines(texts, wrap=True)
    assert examples.split == 1
    assert examples.characters.sum() == 72
    seen: list[int] = []
    for n in range(len(examples)):
        example = examples[n]
        assert len(example.ids) <= codec.window
        assert not example.learn[0]
        seen += [token for token, learn in zip(example.ids, example.learn, strict=True) if learn]
    wanted = [token for text in texts for token in (*codec.encode_texts([text])[0].tolist(), codec.eos_id)]
    assert seen == wanted


def test_characters_held_back_until_they_are_whole() -> None:
    codec = made("char")
    decoder = codec.decoder()
    parts = [decoder.push([token]) for token in codec.encode_texts(["天龘地"])[0].tolist()]
    assert parts == ["天", "", "", "龘", "地"]
    assert decoder.finish() == ""


def test_new_special_tokens_are_added_once() -> None:
    tokenizer = with_specials(char_tokenizer(LINES), "<BOS>", "<EOS>")
    size = len(tokenizer)
    codec = TextCodec(with_specials(tokenizer, "<BOS>", "<EOS>"), 32, wrapped=True)
    assert len(codec.vocabulary) == size
    assert codec.begin("天")[0] == codec.bos_id == codec.vocabulary.index("<BOS>")
    assert codec.stop_ids == (codec.vocabulary.index("<EOS>"),)


@pytest.mark.parametrize("name", ["tokenizer.json", "vocab.json"])
def test_a_damaged_tokenizer_is_one_clear_line(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("{]")
    (tmp_path / "config.json").write_text('{"model_type": "gpt2"}')
    with pytest.raises(CheckpointError, match="tokenizer"):
        TextCodec.load(tmp_path)


def test_a_window_too_small_is_refused() -> None:
    with pytest.raises(ConfigError, match="window"):
        TextCodec(char_tokenizer("x"), 4)


@pytest.mark.parametrize("letters", ["abc", "abcABC"])
def test_a_bare_vocabulary_reads_texts_as_it_reads_dialogues(tmp_path: Path, letters: str) -> None:
    """Where nothing says so, capitals are read as small letters if there are no others."""
    (tmp_path / "vocab.txt").write_text("\n".join([*SPECIAL, *letters]) + "\n", encoding="utf-8")
    texts, dialogues = TextCodec.load(tmp_path), Codec.load(tmp_path)
    assert texts.begin("A b C") == dialogues.begin("A b C")
    assert texts.unk_id not in texts.begin("A b C")
