"""Which encoding a text is in that is not UTF-8: nearly any bytes can be read as GB18030, and mean nothing then."""

from __future__ import annotations

import re
from collections.abc import Iterable

# What every second character of a text is in the language it is written in, rarely what it becomes if it is misread.
_FAMILIAR = re.compile(
    "[，。？！、：；“”‘’…「」『』（）《》～ぁ-んー"
    "的是不我了一有你个这好在来人哈道那以大可就也上和要他看能还行到么得子去没下很们为天都说时用中多小过生出者里会对如间点本自"
    "啊心作老着地之只后三方见家想面书动分然前太感等真于成现开知无定比发又学高事些起物店实觉给回房住与常此意吃打经最头样当果酒"
    "理两更水提但儿而问进将师通电年所美度日法正长工喜手什种王入服性因明情相文把机数力怎其内快关您信门做气务身解错谢次吧欢买才"
    "爱公重同或话体山国外安应二使放变加让己几并友却再何别走它名八特合便吗早表主风语处口女西且接新被直活少非今晚教全字听量空叫"
    "十亲谁妈难钱车马万业边场员办总热乐报认许该饭声记四五六七九百千她呢哪嘛曰矣哉"
    "個這來還麼沒們為說時過裡裏會對間點著後見書動於現開無發學實覺給與經頭樣當兩兒問進將師電長種機數關門氣務錯謝歡買愛"
    "話體國應變讓幾並卻題風語處聽親誰媽難錢車馬萬業邊場員辦總熱樂報認許該飯聲記請嗎條帶離遠樓單錄腦網"
    "이다는을를에의가고하지도한은로기서나사어리자그아만라대해인시니으일들있없습요것정보게부주수전장세여오면과내마제안말네것거든"
    "더데던두때또럼려않았었겠했된될할함합와왜우원위음입저적좀죠줄중진차처까께터트]"
)
_OTHERS = {"Big5": ("cp950", "BIG5"), "EUC-KR": ("cp949", "CP949"), "Shift_JIS": ("cp932", "CP932")}
_LEAST = 20
"""Characters below which nothing is concluded."""


def other_than_gb18030(lines: Iterable[bytes]) -> tuple[str, str] | None:
    """Name and iconv's name of the encoding that `lines` are in, if they make sense in it and none in GB18030."""
    data = b"".join(lines)
    count, chinese = _familiar(data, "gb18030")
    if count < _LEAST:
        return None
    shares = {name: _familiar(data, codec)[1] for name, (codec, _) in _OTHERS.items()}
    best = max(shares, key=lambda name: shares[name])
    return (best, _OTHERS[best][1]) if shares[best] > max(0.3, 2 * chinese) else None


def _familiar(data: bytes, encoding: str) -> tuple[int, float]:
    """How many characters beyond ASCII there are, and the share of them that is familiar."""
    text = data.decode(encoding, "replace")
    count = sum(not each.isascii() for each in text)
    return count, len(_FAMILIAR.findall(text)) / max(1, count)
