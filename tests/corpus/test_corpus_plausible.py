"""What is not UTF-8 is read as GB18030 if it makes sense so, and refused where it makes sense in another encoding."""

from __future__ import annotations

import gzip
from pathlib import Path
from typing import Any

import pytest

from chatgpt2.corpus.source import SAMPLE_BYTES, open_source
from chatgpt2.corpus.texts import TextSource
from chatgpt2.errors import CorpusError

NOVEL = (
    "　　那座山正當頂上，有一塊仙石。四面更無樹木遮陰，左右倒有芝蘭相襯。蓋自開闢以來，每受天真地秀，日精月華，"
    "感之既久，遂有靈通之意。內育仙胞，一日迸裂，產一石卵，似圓毬樣大。因見風，化作一個石猴，五官俱備，四肢皆全。\n"
)
CHAT = "今天天氣真好，我們一起去爬山吧。\n你吃飯了嗎？我還沒有吃\n謝謝你的幫忙\n電腦壞了怎麼辦？\n"
KOREAN = (
    "안녕하세요. 오늘은 날씨가 정말 좋네요!\n같이 산에 갈까요? 밥 먹었어요?\n"
    "학교 선생님이 내일 시험이 있다고 했습니다.\n"
)
JAPANESE = "今日はいい天気ですね。\n一緒に山に登りましょう。\nご飯を食べましたか？\nまだ食べていません。\n"
SIMPLIFIED = (
    "那座山正当顶上，有一块仙石。四面更无树木遮阴，左右倒有芝兰相衬。盖自开辟以来，每受天真地秀，"
    "日精月华，感之既久，遂有灵通之意。\n"
)
NAMES = "诸葛亮\n夏侯惇\n欧阳修\n慕容垂\n独孤伽罗\n尉迟恭\n宇文泰\n澹台灭明\n皇甫嵩\n令狐绹\n"
POEM = "蒹葭苍苍\n白露为霜\n所谓伊人\n在水一方\n关关雎鸠\n参差荇菜\n窈窕淑女\n寤寐求之\n桃之夭夭\n灼灼其华\n"


@pytest.mark.parametrize(
    ("text", "codec", "named", "convert"),
    [
        (NOVEL, "big5", "Big5", "BIG5"),
        (CHAT, "big5", "Big5", "BIG5"),
        (CHAT[:45], "cp950", "Big5", "BIG5"),
        (KOREAN, "euc-kr", "EUC-KR", "CP949"),
        (KOREAN, "cp949", "EUC-KR", "CP949"),
        (JAPANESE, "shift-jis", "Shift_JIS", "CP932"),
    ],
)
@pytest.mark.parametrize("packed", [False, True])
def test_another_encoding_is_refused_with_the_command_that_converts_it(
    tmp_path: Path, text: str, codec: str, named: str, convert: str, packed: bool
) -> None:
    path = tmp_path / ("a b.txt.gz" if packed else "a b.txt")
    data = text.encode(codec)
    path.write_bytes(gzip.compress(data) if packed else data)
    with pytest.raises(CorpusError, match=f"seems to be {named}") as caught:
        list(TextSource((path,)))
    own, fresh = f"'{path}'", f"'{tmp_path}/a b.utf8.txt'"
    command = f"iconv -f {convert} -t UTF-8 {own} > {fresh}"
    if packed:
        command = f"gzip -dc {own} | iconv -f {convert} -t UTF-8 > {fresh}"
    assert f"convert it first, `{command}`" in str(caught.value)


def test_a_dialogue_file_in_another_encoding_is_refused_too(read: Any) -> None:
    with pytest.raises(CorpusError, match="seems to be Big5"):
        read(CHAT.encode("big5"))


@pytest.mark.parametrize(
    "text",
    [
        SIMPLIFIED,
        NOVEL,
        CHAT,
        POEM,
        POEM[:10],
        NAMES,
        NAMES[:8],
        KOREAN,
        JAPANESE,
        "Сегодня хорошая погода, пойдём!\n",
    ],
    ids=["novel", "traditional", "chat", "poem", "line", "names", "name", "korean", "japanese", "russian"],
)
@pytest.mark.parametrize("times", [1, 40])
def test_what_is_gb18030_is_read(tmp_path: Path, text: str, times: int) -> None:
    path = tmp_path / "own.txt"
    path.write_text(text * times, encoding="gb18030")
    assert open_source(path).encoding == "gb18030"
    assert "".join(TextSource((path,))) == text * times


@pytest.mark.parametrize(("codec", "wrong"), [("gb18030", False), ("big5", True)])
def test_what_tells_may_come_late_in_a_text_that_is_nearly_all_ascii(
    tmp_path: Path, codec: str, wrong: bool
) -> None:
    path = tmp_path / "late.txt"
    path.write_bytes(b"plain words, and more of them\n" * (SAMPLE_BYTES // 15) + CHAT.encode(codec))
    if wrong:
        with pytest.raises(CorpusError, match="seems to be Big5"):
            open_source(path)
    else:
        assert open_source(path).encoding == codec
