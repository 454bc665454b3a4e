"""The words by which files name speakers, texts and dialogues."""

from __future__ import annotations

ROLES = {
    **dict.fromkeys(
        ("user", "human", "customer", "client", "questioner", "用户", "人类", "顾客", "客户"), "user"
    ),
    **dict.fromkeys(
        (
            "assistant",
            "gpt",
            "bot",
            "chatgpt",
            "model",
            "chatbot",
            "ai",
            "robot",
            "助手",
            "机器人",
            "客服",
            "模型",
        ),
        "bot",
    ),
    **dict.fromkeys(
        ("bing", "bard", "claude", "gpt4", "gpt-4", "小助手", "助理", "智能助手", "agent"), "bot"
    ),
    **dict.fromkeys(("system", "developer", "系统"), "system"),
    **dict.fromkeys(
        ("tool", "function", "function_call", "tool_call", "observation", "ipython", "工具"), "tool"
    ),
}

ROLE_KEYS = ("role", "from", "speaker")
TEXT_KEYS = ("content", "value", "text", "message", "utterance")
DIALOGUE_KEYS = ("messages", "conversations", "conversation", "dialog", "dialogue", "turns", "utterances")

# What is asked and what is answered, the surest names first.
QUESTION_KEYS: tuple[str, ...] = (
    "human",
    "user",
    "question",
    "instruction",
    "prompt",
    "query",
    "input",
    "post",
    "source",
    "src",
)
QUESTION_KEYS += ("ask", "q", "问题", "提问", "问", "用户", "上句", "上文")
ANSWER_KEYS: tuple[str, ...] = (
    "assistant",
    "bot",
    "answer",
    "output",
    "response",
    "reply",
    "completion",
    "target",
    "tgt",
    "resp",
)
ANSWER_KEYS += ("gpt", "a", "答案", "回答", "回复", "答", "助手", "机器人", "下句", "下文")
# A second text that belongs to the question: alpaca's input.
CONTEXT_KEYS = ("input", "query")

# Keys of one big object that hold the dialogues of a whole corpus, as LCCC's train, valid and test.
CONTAINER_KEYS: tuple[str, ...] = (
    "train",
    "valid",
    "validation",
    "dev",
    "test",
    "eval",
    "data",
    "dialogs",
    "dialogues",
)
CONTAINER_KEYS += ("items", "records", "rows", "examples", "samples")


def pair_of(keys: list[str]) -> tuple[str, str] | None:
    """The names among `keys` of a question and of its answer."""
    question = next((key for key in QUESTION_KEYS if key in keys), None)
    answer = next((key for key in ANSWER_KEYS if key in keys), None)
    return (question, answer) if question and answer else None


def context_of(keys: list[str], question: str) -> str | None:
    """The name among `keys` of the text that completes an alpaca instruction."""
    if question not in ("instruction", "prompt"):
        return None
    return next((key for key in CONTEXT_KEYS if key in keys), None)
