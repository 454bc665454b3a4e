from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from chatgpt2.cli.generate import generate
from chatgpt2.errors import ChatGPT2Error, ConfigError

GREEDY = ("--temperature", 0, "--repetition-penalty", 1, "--engine", "pytorch")


def run(*arguments: object, stdin: str | None = None) -> Result:
    result = CliRunner().invoke(generate, [str(each) for each in arguments], input=stdin)
    if isinstance(result.exception, ChatGPT2Error):
        raise result.exception
    assert result.exit_code == 0, result.output
    return result


def test_one_text_is_shown_with_its_prompt_and_an_answer_alone(dialogue_model: Path) -> None:
    assert run(dialogue_model, "今天天", *GREEDY).stdout == "今天天气真好\n"
    assert run(dialogue_model, "今天天气真好", "--dialogue", *GREEDY).stdout == "是啊一起去爬山吧\n"


def test_many_are_shown_in_order(dialogue_model: Path) -> None:
    text = run(dialogue_model, "你好", "再见", "--dialogue", "--n", 2, *GREEDY).stdout
    assert text == "你好呀\n你好呀\n\n明天见\n明天见\n"


def test_prompts_come_from_a_file_or_a_pipe(dialogue_model: Path, tmp_path: Path) -> None:
    (tmp_path / "prompts.txt").write_text("你好\r\n\n再见\n", encoding="utf-8")
    expected = "你好呀\n明天见\n"
    assert run(dialogue_model, "--file", tmp_path / "prompts.txt", "--dialogue", *GREEDY).stdout == expected
    assert run(dialogue_model, "--file", "-", "--dialogue", *GREEDY, stdin="你好\n再见\n").stdout == expected


def test_json_has_one_object_a_prompt(dialogue_model: Path) -> None:
    lines = run(dialogue_model, "你好", "再见", "--dialogue", "--json", *GREEDY).stdout.splitlines()
    assert [json.loads(line) for line in lines] == [
        {"prompt": "你好", "texts": ["你好呀"], "finishes": ["stop"]},
        {"prompt": "再见", "texts": ["明天见"], "finishes": ["stop"]},
    ]


def test_beams_search(dialogue_model: Path) -> None:
    arguments = ("--dialogue", "--beams", 3, "--repetition-penalty", 1)
    assert run(dialogue_model, "你好", *arguments).stdout == "你好呀\n"
    with pytest.raises(ConfigError, match="--beams draws nothing: leave --top-k out"):
        run(dialogue_model, "你好", "--beams", 3, "--top-k", 5)
    with pytest.raises(ConfigError, match="leave --engine openvino out"):
        run(dialogue_model, "你好", "--beams", 3, "--engine", "openvino")


def test_no_prompt_and_bad_files_are_told(dialogue_model: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="give a prompt"):
        run(dialogue_model)
    with pytest.raises(ConfigError, match=r"--file .*nothing\.txt cannot be read"):
        run(dialogue_model, "--file", tmp_path / "nothing.txt")
    (tmp_path / "gb.txt").write_bytes("你好".encode("gb18030"))
    with pytest.raises(ConfigError, match=r"--file .*gb\.txt is not UTF-8"):
        run(dialogue_model, "--file", tmp_path / "gb.txt")
    with pytest.raises(ConfigError, match="temperature is -1"):
        run(dialogue_model, "你好", "--temperature", -1)
