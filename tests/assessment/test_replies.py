from __future__ import annotations

import random

import pytest

from chatgpt2.assessment.replies import Prompt, choose_prompts, last_answer, people_figures, reply_figures
from chatgpt2.dialogue import Dialogue

MANY = [Dialogue.of([f"问{i}", f"答{i}", f"再问{i}", f"再答{i}"]) for i in range(50)]


def test_a_prompt_is_the_last_answer_and_what_came_before_it() -> None:
    found = last_answer(Dialogue.of(["你好", "你好呀", "你是谁", "机器人", "再见"]))
    assert found == Prompt(Dialogue.of(["你好", "你好呀", "你是谁"]), "机器人")
    assert last_answer(Dialogue.of(["你好"])) is None
    assert last_answer(Dialogue.of(["自言自语"], first="bot")) is None


def test_the_choice_depends_on_seed_and_content_not_on_the_order() -> None:
    shuffled = random.Random(0).sample(MANY, len(MANY))
    assert choose_prompts(MANY, 7) == choose_prompts(shuffled, 7)
    assert choose_prompts(MANY, 7, seed=1) != choose_prompts(MANY, 7)
    assert len(choose_prompts(MANY, 7)) == 7
    assert len(choose_prompts(MANY, 500)) == len(MANY)
    assert choose_prompts(MANY, 0) == []


def test_a_smaller_choice_is_the_beginning_of_a_larger_one() -> None:
    assert choose_prompts(MANY, 20)[:5] == choose_prompts(MANY, 5)


def test_equal_prompts_are_asked_once() -> None:
    assert len(choose_prompts([*MANY, *MANY], 500)) == len(MANY)


def test_the_figures_by_hand() -> None:
    """Replies 是的 (dull), 吃了红烧肉 and 吃饭了吗, which says after the user 吃饭, 饭了 and 了吗."""
    said = ["今天天气好吗", "你吃饭了吗", "你吃饭了吗"]
    prompts = [Prompt(Dialogue.of([text]), reference) for text, reference in zip(said, "好好好", strict=True)]
    figures = reply_figures(prompts, ["是的", "吃了红烧肉", "吃饭了吗"])
    assert figures["dull"].value == pytest.approx(1 / 3)
    assert figures["echo"].value == pytest.approx(1 / 3)
    assert figures["length"].value == pytest.approx((2 + 5 + 4) / 3)
    assert figures["distinct_1"].value == pytest.approx(9 / 11)
    assert figures["distinct_2"].value == 1
    assert figures["repetition"].value == 0
    assert figures["bleu_2"].value < 5
    assert people_figures(prompts)["length"].value == 1
