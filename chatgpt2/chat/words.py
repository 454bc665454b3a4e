"""What is said to people when the model says nothing."""

from __future__ import annotations

BUSY = "现在找我聊天的人太多了，请过一会儿再说一遍。"
DECLINED = "这个话题我不方便聊，我们换一个吧。"
SPEECHLESS = "嗯……我一时不知道说什么好，换个话题聊聊吧。"
