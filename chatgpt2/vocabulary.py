"""Make, load and check a WordPiece vocabulary.

`python -m chatgpt2.vocabulary` writes the shipped default, chatgpt2/data/vocab.txt: the special tokens,
ASCII, frequent English words and endings, CJK punctuation, the Han characters of GB2312 and some that
chat uses beyond it, and emoji. It is cased. Nothing in it comes from a corpus, so it is the same everywhere.
"""

from __future__ import annotations

import hashlib
import json
import string
import unicodedata
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from importlib import resources
from itertools import chain, islice
from pathlib import Path
from typing import Any

import regex

from chatgpt2.errors import CheckpointError, ConfigError

SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
NO_LIMIT = 10**9  # transformers writes a larger model_max_length for "no limit"
UNUSED = tuple(f"[unused{n}]" for n in range(1, 12))

LETTERS = string.digits + string.ascii_lowercase + string.ascii_uppercase
CJK_PUNCTUATION = "“”‘’…—–·、。《》〈〉「」『』【】〔〕〖〗！＂＃％＆（），：；？～￥＋－＝＜＞＠｜／＊"
SYMBOLS = "￣▽≧≦∀⊙ˇ╯╰╮╭︶﹏´°℃×÷±²³√∞≈≠≤≥→←↑↓☆★○●◎◇◆□■△▲♂♀♪♫♥♡☀☁☂☎☺☹✓✔✗✘€£©®™①②③④⑤⑥⑦⑧⑨⑩ωのノっ"

# Han characters beyond GB2312 that mainland chat writes, and the commonest traditional ones.
CHAT_HAN = (
    "囧嘚囍嘢咁嚟冇啲屌啰妳欸嚒祎玥堃濛瑄旻嬛跶嗞齁煊珺婳玮烜翀珅淼焱嫑奀怹咗嘅咩唞揾"
    "這謝會還沒個來歡麼說評愛圖過論嗎話們讓開對時氣點樣兒見學覺無媽兩給發種裡間樂長動關"
    "經機變頭遠聽寶為師難別條剛帶轉紅與應計風黃實倆藍選態親語養節幾當較請運東記現換號聲"
)

EMOJI = (
    "😀😁😂🤣😃😄😅😆😉😊😋😎😍😘🥰😗😙😚🙂🤗🤩🤔🤨😐😑😶🙄😏😣😥😮🤐😯😪😫🥱😴😌😛😜😝🤤😒😓😔😕🙃🤑😲🙁"
    "😖😞😟😤😢😭😦😧😨😩🤯😬😰😱🥵🥶😳🤪😵🥴😠😡🤬😷🤒🤕🤢🤮🤧😇🥳🥺🤠🤡🤥🤫🤭🧐🤓😈👿👹👻💀👽🤖💩😺😻🙈🙉🙊"
    "👋✋👌✌🤞🤙👈👉👆👇👍👎✊👊👏🙌🤝🙏💪👀💋❤🧡💛💚💙💜🖤💔💕💖💗💘💝💯💢💥💦💤🔥✨🌟⭐🌈🌙🌞🌹🌸🎂🎉🎁🎈"
    "🐶🐱🐷🐭🐰🐻🐼🐔🍉🍎🍺🍻🍚🍜☕🍗🏃🏀⚽🎵🎤🚗📱💰📚🎮👩👨👧👦👶🐮🐸🙋🤷🤦✅❌❓❗🆗"
)

WORDS = """
the a an i you he she it we they me him her us them my your his its our their this that these those who what
when where why how which is am are was were be been being do does did done have has had will would can could
shall should may might must not no yes ok okay and or but if so because then than as at by for from in into of
off on onto out over to up down with without about after before again all any both each few more most other
some such only own same too very just now here there one two three four five six seven eight nine ten first
last new old good bad big small great little long short high low right left next early young important
public able time year people way day man woman thing world life hand part child eye place work week case
point home water room mother father money story fact month lot study book word business side kind head house
service friend power hour game line end member law car city name team minute idea kid body back parent face
other level office door health person art war history party result change morning reason research girl guy
moment air teacher force food love like go get make know think take see come want look use find give tell ask
work seem feel try leave call hello hi hey bye thanks thank please sorry sure maybe really never always
happy sad nice cool fine well today tomorrow yesterday night wow haha lol omg ps http https www com cn net org
html app web wifi wechat qq app pc ai gpt iphone ipad mac windows android google apple python java code data
don didn doesn isn wasn aren won couldn wouldn haven let re ve ll
email phone mail video music movie tv vip ktv ceo it diy dj mv cd dna nba cba kfc usa uk km kg cm mm gb mb
hr pm am min sec top hot pop rock live show star fans baby boss girl boy man nba rap ok bb mm gg dd
"""
CAPITALISED = """
I You He She It We They The A An My Your This That What When Where Why How Who Is Are Do Can Could Would Will
No Yes OK Hello Hi Hey Bye Thanks Thank Please Sorry Good Happy Nice China Beijing Shanghai English Chinese
WiFi iPhone Android Apple Google Windows Python Java QQ KTV VIP APP App PC AI GPT TV CEO NBA CBA KFC USA UK
DIY DJ MV CD DNA HR PM AM BB GG IT PS Mac iPad Monday Friday Sunday Christmas Love Baby
"""
ENDINGS = """
s es ed er ers est ing ings ly ty y al ial ally tion tions sion ment ments ness ful less able ible ity ive ous
ious ic ical ics ism ist ize ise ized en em ent ence ency ant ance ary ory ery age ure ate ated ating or ors
th st nd rd re ll ve an on in un at it is us um ar ir ur ch sh ck ng nk nt ld le el il ol ul ra ri ro ru la
li lo lu ma me mi mo mu na ne ni no nu pa pe pi po pu sa se si so su ta te ti to tu va vi vo da de di do du
ba be bi bo bu ca ce ci co cu fa fe fi fo fu ga ge gi go gu ha he hi ho hu ja je ji jo ju ka ke ki ko ku
ee oo ea ou ow ay ai oy ew au ph gh qu ss tt ll ff pp nn mm man land book phone time day ie 00 10 20 23
"""


def _gb2312_han() -> list[str]:
    """The 6,763 Han characters of GB2312 in its order: rows 16-87 of a 94-column table."""
    cells = (bytes((0xA0 + row, 0xA0 + column)) for row in range(16, 88) for column in range(1, 95))
    return [char for cell in cells if (char := cell.decode("gb2312", "ignore"))]


def make_default_vocabulary() -> list[str]:
    """The entries of the shipped vocabulary, in order."""
    latin = sorted(set(WORDS.split()) | set(CAPITALISED.split()))
    endings = (f"##{piece}" for piece in chain(LETTERS, sorted(set(ENDINGS.split()))))
    ascii_marks = string.punctuation
    entries = chain(SPECIAL, UNUSED, ascii_marks, LETTERS, endings, latin, CJK_PUNCTUATION, SYMBOLS)
    return list(dict.fromkeys(chain(entries, _gb2312_han(), CHAT_HAN, EMOJI)))


def default_vocabulary() -> list[str]:
    """The vocabulary that ships with the package."""
    file = resources.files("chatgpt2.data") / "vocab.txt"
    return parse_vocabulary(file.read_bytes(), "the shipped vocabulary")


def load_vocabulary(path: Path | str) -> list[str]:
    """Exactly the entries of a BERT vocab.txt, one a line."""
    try:
        data = Path(path).read_bytes()
    except OSError as error:
        raise CheckpointError(f"{path}: the vocabulary cannot be read ({error.strerror})") from error
    return parse_vocabulary(data, str(path))


def parse_vocabulary(data: bytes, where: str) -> list[str]:
    """The entries in `data`; `where` names it in errors.

    Lines end at "\\n" and nothing else: U+2028 is an entry of real vocabularies, and str.splitlines or a
    file opened in text mode would break it in two and shift every id after it.
    """
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise CheckpointError(f"{where}, line {line}: not UTF-8 text, so not a vocabulary") from error
    lines = text.split("\n")
    if lines[-1] == "":
        lines.pop()
    entries = [line.removesuffix("\r") for line in lines]
    check_vocabulary(entries, where)
    return entries


def check_vocabulary(entries: Sequence[str], where: str = "the vocabulary") -> None:
    """Raise CheckpointError unless the entries are distinct, not empty and hold the special tokens."""
    seen: dict[str, int] = {}
    for line, entry in enumerate(entries, start=1):
        if not entry:
            raise CheckpointError(f"{where}, line {line}: an empty entry; a vocabulary has one token a line")
        if entry in seen:
            raise CheckpointError(f"{where}, line {line}: {entry!r} is already on line {seen[entry]}")
        seen[entry] = line
    missing = [token for token in SPECIAL if token not in seen]
    if missing:
        raise CheckpointError(f"{where}: the special tokens {', '.join(missing)} are missing")


def save_vocabulary(entries: Sequence[str], path: Path | str) -> None:
    """Write `entries` one a line, as `load_vocabulary` reads them."""
    Path(path).write_bytes("".join(f"{entry}\n" for entry in entries).encode())


def vocabulary_hash(entries: Iterable[str]) -> str:
    """Names these entries in this order: 16 hexadecimal digits."""
    return hashlib.sha256("\n".join(entries).encode("utf-8", "surrogatepass")).hexdigest()[:16]


@dataclass(frozen=True, slots=True)
class TokenizerFiles:
    """What a tokenizer directory says. None: it does not say."""

    entries: list[str]
    lowercase: bool | None
    window: int | None


def read_tokenizer(directory: Path) -> TokenizerFiles:
    """A BERT tokenizer in Hugging Face format: tokenizer.json, or a bare vocab.txt as older models have."""
    saved = _read_json(directory / "tokenizer.json")
    config = _read_json(directory / "tokenizer_config.json")
    if saved:
        entries, lowercase = _saved_entries(saved, directory / "tokenizer.json")
    elif (directory / "vocab.txt").is_file():
        entries, lowercase = load_vocabulary(directory / "vocab.txt"), config.get("do_lower_case")
    else:
        raise CheckpointError(f"{directory}: no tokenizer in it (neither tokenizer.json nor vocab.txt)")
    if config.get("tokenize_chinese_chars") is False:
        raise CheckpointError(f"{directory}: its tokenizer does not keep Han characters apart, as this needs")
    model = _read_json(directory / "config.json")
    limits = (config.get("model_max_length"), model.get("n_positions") or model.get("n_ctx"))
    windows = [int(limit) for limit in limits if limit and limit < NO_LIMIT]
    return TokenizerFiles(entries, lowercase, min(windows, default=None))


def read_tokenizer_kind(directory: Path) -> str:
    """The kind of model in a tokenizer directory, as tokenizer.json calls it; a bare vocab.txt is WordPiece."""
    model = _read_json(directory / "tokenizer.json").get("model") or {}
    return str(model.get("type") or ("WordPiece" if (directory / "vocab.txt").exists() else "BPE"))


def _read_json(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_bytes())
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{path}: cannot be read as JSON ({error})") from error
    return content if isinstance(content, dict) else {}


def _saved_entries(saved: dict[str, Any], path: Path) -> tuple[list[str], bool | None]:
    """The entries in the order of their ids, and whether text is lower-cased."""
    model = saved.get("model") or {}
    if model.get("type") != "WordPiece":
        raise CheckpointError(
            f"{path}: a {model.get('type')} tokenizer. Dialogues need WordPiece; `chatgpt2 train-text` takes any"
        )
    if not isinstance(model.get("vocab"), dict):
        raise CheckpointError(f"{path}: it has no vocabulary")
    ids = dict(model["vocab"]) | {token["content"]: token["id"] for token in saved.get("added_tokens", ())}
    if sorted(ids.values()) != list(range(len(ids))):
        raise CheckpointError(f"{path}: the ids of its tokens are not 0 to {len(ids) - 1}")
    entries = sorted(ids, key=lambda entry: ids[entry])
    check_vocabulary(entries, str(path))
    normalizer = saved.get("normalizer") or {}
    return entries, normalizer.get("lowercase")


WORD = regex.compile(r"[\p{L}\p{M}\p{N}--[\p{Han}]]{2,100}", regex.V1)
CHUNK = 4096  # texts counted at once
WORDS_KEPT = 500_000  # distinct words counted before the rare ones are forgotten: bounds the memory


def _chunks(texts: Iterable[str]) -> Iterator[str]:
    texts = iter(texts)
    while chunk := list(islice(texts, CHUNK)):
        yield "\n".join(chunk)


def _count(texts: Iterable[str]) -> tuple[Counter[str], Counter[str]]:
    """How often each character and each non-Han word occurs."""
    characters: Counter[str] = Counter()
    words: Counter[str] = Counter()
    floor = 1
    for chunk in _chunks(texts):
        characters.update(chunk)
        words.update(WORD.findall(chunk))
        while len(words) > WORDS_KEPT:
            words = Counter({word: count for word, count in words.items() if count > floor})
            floor += 1
    return characters, words


def _is_visible(char: str) -> bool:
    return not char.isspace() and unicodedata.category(char) not in ("Cc", "Cf", "Co", "Cs")


def _character_entries(char: str) -> tuple[str, ...]:
    """A letter or digit may stand inside a word, so it also gets a `##` entry; Han always stands alone."""
    return (char, f"##{char}") if WORD.fullmatch(char * 2) else (char,)


def build_vocabulary(texts: Iterable[str], size: int, min_count: int = 2) -> list[str]:
    """A cased vocabulary of at most `size` entries for `texts`.

    It holds the special tokens and ASCII, then by frequency every character seen at least `min_count` times,
    then the most frequent words of other scripts than Han. The same texts give the same vocabulary.
    """
    base = [*SPECIAL, *UNUSED, *string.punctuation, *chain.from_iterable(map(_character_entries, LETTERS))]
    if size < len(base):
        raise ConfigError(f"a vocabulary of {size} entries is too small: {len(base)} is the least")
    characters, words = _count(texts)
    entries = dict.fromkeys(base)
    ranked = sorted(characters.items(), key=lambda item: (-item[1], item[0]))
    for char, count in ranked:
        wanted = [entry for entry in _character_entries(char) if entry not in entries]
        if count >= min_count and _is_visible(char) and len(entries) + len(wanted) <= size:
            entries.update(dict.fromkeys(wanted))
    frequent = sorted(((-count, word) for word, count in words.items() if count >= min_count))
    fresh = (word for _, word in frequent if word not in entries)
    entries.update(dict.fromkeys(islice(fresh, size - len(entries))))
    return list(entries)


if __name__ == "__main__":
    save_vocabulary(make_default_vocabulary(), Path(__file__).parent / "data" / "vocab.txt")
