from __future__ import annotations

import json
import math
import re
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from small_models import TALKS, save_dialogue_model

from chatgpt2.assessment import Options, compare, evaluate
from chatgpt2.assessment.card import write_card
from chatgpt2.cli.evaluate import evaluate as command
from chatgpt2.engine.base import EngineOptions
from chatgpt2.errors import ChatGPT2Error, CheckpointError, ConfigError, CorpusError

TORCH = EngineOptions("pytorch")
GREEDY = {"temperature": 0.0, "repetition_penalty": 1.0}


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    path = tmp_path / "talks.txt"
    path.write_text("\n\n".join("\n".join(talk) for talk in TALKS) + "\n", encoding="utf-8")
    return path


@pytest.fixture(scope="session")
def untaught(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_dialogue_model(tmp_path_factory.mktemp("models") / "untaught", steps=3)


def run(*arguments: object) -> Result:
    result = CliRunner().invoke(command, [str(each) for each in (*arguments, "--engine", "pytorch")])
    if isinstance(result.exception, ChatGPT2Error):
        raise result.exception
    assert result.exit_code == 0, result.output
    return result


def test_a_model_that_knows_the_text_by_heart_says_what_people_said(
    dialogue_model: Path, corpus: Path, tmp_path: Path
) -> None:
    options = Options(sampling=GREEDY, engine=TORCH)
    found = evaluate(dialogue_model, [corpus], options, cache=tmp_path)
    assert found.data.items == len(TALKS)
    assert found.data.characters == len("".join("".join(talk) for talk in TALKS))
    assert found.data.unknown == 0
    assert found.held_out["perplexity"].value < 1.5
    assert found.held_out["perplexity"].value == pytest.approx(math.exp(found.held_out["loss"].value))
    assert {said.reply for said in found.said} == {talk[-1] for talk in TALKS}
    for name in ("distinct_1", "distinct_2", "entropy_4", "length", "dull", "echo"):
        assert found.replies[name].value == found.people[name].value
    assert found.replies["bleu_2"].value == pytest.approx(100)


def test_the_same_seed_gives_the_same_figures(dialogue_model: Path, corpus: Path, tmp_path: Path) -> None:
    options = Options(sampling={"temperature": 3.0}, engine=TORCH, seed=5)
    one, other = (evaluate(dialogue_model, [corpus], options, cache=tmp_path) for _ in range(2))
    assert one == other


def test_two_models_are_told_apart(
    dialogue_model: Path, untaught: Path, corpus: Path, tmp_path: Path
) -> None:
    options = Options(replies=0)
    taught, other = (evaluate(each, [corpus], options, cache=tmp_path) for each in (dialogue_model, untaught))
    ratio = compare(taught, other)
    expected = (
        other.held_out["perplexity_per_character"].value / taught.held_out["perplexity_per_character"].value
    )
    assert ratio is not None and ratio.low is not None
    assert ratio.value == pytest.approx(expected)
    assert ratio.low > 1
    assert taught.replies == {}


def test_the_command_shows_both_and_writes_report_picture_and_cards(
    dialogue_model: Path, untaught: Path, corpus: Path, tmp_path: Path
) -> None:
    import shutil

    models = [shutil.copytree(each, tmp_path / each.name) for each in (dialogue_model, untaught)]
    report, plot = tmp_path / "out" / "report.json", tmp_path / "out" / "plot.png"
    result = run(models[0], corpus, "--compare", models[1], "--json", report, "--plot", plot)
    assert "talks" in result.stdout and "untaught" in result.stdout and "people" in result.stdout
    assert "Perplexity per character, untaught over talks:" in result.stdout
    read = json.loads(report.read_text(encoding="utf-8"))
    assert read["data"]["items"] == len(TALKS)
    assert read["compared"]["model"] == str(models[1])
    assert read["perplexity_per_character_ratio"]["low"] > 1
    assert set(read["replies"]["dull"]) == {"value", "low", "high"}
    assert plot.read_bytes().startswith(b"\x89PNG")
    for folder in models:
        assert "| perplexity per character |" in (folder / "README.md").read_text(encoding="utf-8")
        assert (folder / "evaluation.png").read_bytes().startswith(b"\x89PNG")


def test_models_of_dialogues_and_of_texts_are_compared_on_texts_alone(
    dialogue_model: Path, text_model: Path, corpus: Path
) -> None:
    both = (dialogue_model, corpus, "--compare", text_model, "--no-card")
    other = (text_model, corpus, "--compare", dialogue_model, "--no-card")
    refused = f"^{re.escape(str(text_model))} goes on with texts and knows no dialogues: take --as stream$"
    for arguments in (both, (*both, "--as", "dialogues"), (*other, "--as", "dialogues")):
        with pytest.raises(ConfigError, match=refused):
            run(*arguments)
    assert "Perplexity per character, texts over talks:" in run(*both, "--as", "stream").stdout
    assert "Perplexity per character, talks over texts:" in run(*other).stdout  # as the first has learned


def test_the_card_leaves_what_others_wrote(dialogue_model: Path, corpus: Path, tmp_path: Path) -> None:
    found = evaluate(dialogue_model, [corpus], Options(sampling=GREEDY, engine=TORCH), cache=tmp_path)
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "README.md").write_text("# 我的模型\n\n我写的。\n", encoding="utf-8")
    for _ in range(2):
        card = write_card(folder, found).read_text(encoding="utf-8")
        assert card.startswith("# 我的模型\n\n我写的。\n\n<!-- chatgpt2 evaluate -->\n## Evaluation\n")
        assert card.count("## Evaluation") == 1
    (folder / "README.md").write_text(card + "\n后来写的。\n", encoding="utf-8")
    assert write_card(folder, found).read_text(encoding="utf-8").endswith("-->\n后来写的。\n")
    fresh = tmp_path / "fresh"
    fresh.mkdir()
    assert write_card(fresh, found).read_text(encoding="utf-8").startswith("---\nlanguage: zh\n")


def test_nothing_is_written_beside_a_model_that_is_not_ours_to_write(
    dialogue_model: Path, corpus: Path, tmp_path: Path
) -> None:
    run(dialogue_model, corpus, "--no-card", "--replies", 0)
    assert not (dialogue_model / "README.md").exists()
    found = evaluate(dialogue_model, [corpus], Options(replies=0), cache=tmp_path)
    with pytest.raises(CheckpointError, match="leave the card out with --no-card"):
        write_card(tmp_path / "nothing", found)


def test_bad_input_is_one_clear_line(dialogue_model: Path, corpus: Path, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="no model directory"):
        run(tmp_path / "nothing", corpus)
    with pytest.raises(CorpusError, match=r"nothing\.txt"):
        run(dialogue_model, tmp_path / "nothing.txt")
    (tmp_path / "empty.txt").write_text("", encoding="utf-8")
    with pytest.raises(CorpusError, match=r"empty\.txt: is empty"):
        run(dialogue_model, tmp_path / "empty.txt")
    with pytest.raises(ConfigError, match="seed is -1"):
        run(dialogue_model, corpus, "--seed", -1)
    with pytest.raises(ConfigError, match="needs the weights"):
        run(dialogue_model, corpus, "--engine-url", "http://127.0.0.1:9")
    with pytest.raises(ConfigError, match=r"--json .* cannot be written"):
        run(dialogue_model, corpus, "--no-card", "--replies", 0, "--json", corpus / "report.json")


def test_dialogues_in_which_nobody_answers_have_no_replies(dialogue_model: Path, tmp_path: Path) -> None:
    (tmp_path / "alone.txt").write_text("你好\n\n再见\n", encoding="utf-8")
    result = run(dialogue_model, tmp_path / "alone.txt", "--no-card")
    assert "nobody answers anybody" in result.stderr
    assert "distinct-1" not in result.stdout
