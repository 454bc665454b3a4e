from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from small_models import POEMS, TEXTS
from transformers import pipeline

from chatgpt2.checkpoint import load_any, load_checkpoint
from chatgpt2.engine.base import EngineOptions
from chatgpt2.errors import CheckpointError, ConfigError
from chatgpt2.loading import in_torch
from chatgpt2.quiet import quiet_transformers
from chatgpt2.textcodec import TextCodec
from chatgpt2.writing import Order, generate, stream, write

TORCH = EngineOptions("pytorch")
GREEDY = {"temperature": 0.0, "repetition_penalty": 1.0, "max_new_tokens": 20}


@pytest.mark.parametrize("prompt", ["The monkey", "那猴王", "Once upon a", "举头望", "床"])
def test_a_text_goes_on_as_the_pipeline_of_transformers_lets_it(
    text_model: Path, char_model: Path, prompt: str
) -> None:
    model = char_model if prompt in ("举头望", "床") else text_model
    (found,) = generate(model, prompt, engine=TORCH, **GREEDY)
    with quiet_transformers():
        theirs = pipeline("text-generation", model=str(model))
        (row,) = theirs(prompt, max_new_tokens=20, do_sample=False)
    assert prompt + found.texts[0] == row["generated_text"].rstrip("�")  # we keep half a character back
    assert any(text.startswith(prompt + found.texts[0]) for text in (*TEXTS, *POEMS))


def test_a_dialogue_goes_on_as_the_pipeline_of_transformers_lets_it(dialogue_model: Path) -> None:
    """It sets [CLS] before a prompt and [SEP] after it unless told not to, so it answers; and it puts spaces
    between characters, as every BERT tokenizer does."""
    (reply,) = generate(dialogue_model, "今天天气真好", dialogue=True, engine=TORCH, **GREEDY)
    (turn,) = generate(dialogue_model, "今天天", engine=TORCH, **GREEDY)
    with quiet_transformers():
        theirs = pipeline("text-generation", model=str(dialogue_model))
        rest = {"max_new_tokens": 20, "do_sample": False, "return_full_text": False}
        (answered,) = theirs("今天天气真好", **rest)
        (continued,) = theirs("[CLS]今天天", add_special_tokens=False, **rest)
    assert reply.texts[0] == answered["generated_text"].replace(" ", "") == "是啊一起去爬山吧"
    assert turn.texts[0] == continued["generated_text"].replace(" ", "") == "气真好"
    assert reply.finishes == turn.finishes == ("stop",)


def test_many_prompts_are_written_in_order_and_each_has_its_texts(dialogue_model: Path) -> None:
    prompts = ["你好", "再见", "你吃饭了吗"]
    found = generate(dialogue_model, prompts, dialogue=True, engine=TORCH, n=2, **GREEDY)
    assert [each.prompt for each in found] == prompts
    assert [each.texts for each in found] == [("你好呀",) * 2, ("明天见",) * 2, ("吃了红烧肉",) * 2]


def test_a_seed_makes_texts_repeatable_and_differs_between_prompts(dialogue_model: Path) -> None:
    wild = {"temperature": 5.0, "top_k": 0, "top_p": 1.0, "max_new_tokens": 12, "min_new_tokens": 12}
    one = generate(dialogue_model, ["你好", "你好"], engine=TORCH, seed=3, **wild)
    assert one == generate(dialogue_model, ["你好", "你好"], engine=TORCH, seed=3, **wild)
    assert one[0].texts != one[1].texts
    assert one[0].texts != generate(dialogue_model, "你好", engine=TORCH, seed=4, **wild)[0].texts


@pytest.mark.parametrize("stop", ["山", "爬山", "[SEP]"])
def test_a_stop_is_a_token_or_a_string(dialogue_model: Path, stop: str) -> None:
    (found,) = generate(dialogue_model, "今天天气真好", dialogue=True, engine=TORCH, stops=(stop,), **GREEDY)
    assert found.texts[0] == "是啊一起去爬山吧".split(stop)[0]
    assert found.finishes == ("stop",)


async def test_the_pieces_of_a_stream_add_up(text_model: Path) -> None:
    """A Han character is three bytes, so up to three tokens; none comes broken."""
    serving = in_torch(load_any(text_model))
    pieces = [piece async for piece in stream(serving, "那猴王", Order(sampling=dict(GREEDY)))]
    whole = await write(serving, ["那猴王"], Order(sampling=dict(GREEDY)))
    await serving.engine.close()
    assert "".join(piece.text for piece in pieces) == whole[0].texts[0]
    assert all("�" not in piece.text for piece in pieces)
    assert len([piece for piece in pieces if piece.text]) > 3


def test_one_beam_is_greedy_and_more_find_what_is_at_least_as_likely(dialogue_model: Path) -> None:
    (greedy,) = generate(dialogue_model, "你好", dialogue=True, engine=TORCH, **GREEDY)
    search = {"repetition_penalty": 1.0, "max_new_tokens": 20}
    (one,) = generate(dialogue_model, "你好", dialogue=True, beams=1, **search)
    (many,) = generate(dialogue_model, "你好", dialogue=True, beams=4, n=3, **search)
    assert one.texts == greedy.texts == many.texts[:1]
    assert len(set(many.texts)) == 3
    (cut,) = generate(dialogue_model, "你好", dialogue=True, beams=2, stops=("呀",), **search)
    assert cut.texts == ("你好",)


def test_fewer_beams_than_texts_are_refused(dialogue_model: Path) -> None:
    with pytest.raises(ConfigError, match="--beams 2: at least as many as --n 3"):
        generate(dialogue_model, "你好", beams=2, n=3)


def test_a_prompt_that_fills_the_window_is_refused(dialogue_model: Path) -> None:
    with pytest.raises(ConfigError, match="has 64 tokens, and the model's window 64"):
        generate(dialogue_model, "好" * 63, engine=TORCH)


def test_a_model_of_texts_answers_nobody(text_model: Path) -> None:
    with pytest.raises(ConfigError, match="knows no dialogues"):
        generate(text_model, "你好", dialogue=True, engine=TORCH)
    with pytest.raises(CheckpointError, match="a BPE tokenizer"):
        load_checkpoint(text_model)


def test_an_empty_prompt_is_the_beginning_of_a_text(text_model: Path) -> None:
    (found,) = generate(text_model, "", engine=TORCH, **GREEDY)
    assert found.texts[0]


def test_what_is_no_text_is_never_written(text_model: Path) -> None:
    loaded = load_any(text_model)
    assert isinstance(loaded.codec, TextCodec)
    assert loaded.codec.stop_ids == (0,)
    assert loaded.codec.begin("那") == loaded.codec.tokenizer.encode("那")
    assert loaded.codec.decode(loaded.codec.begin("那猴王 king")) == "那猴王 king"
    serving = in_torch(loaded)
    asyncio.run(serving.engine.close())
