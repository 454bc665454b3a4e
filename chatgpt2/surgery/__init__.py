"""Looking into models, taking them apart, putting them together, and making others' loadable."""

from chatgpt2.surgery.convert import convert
from chatgpt2.surgery.describe import Description, describe
from chatgpt2.surgery.export import TARGETS, export
from chatgpt2.surgery.parts import PARTS, join, merge, split
from chatgpt2.surgery.vocabulary import resize_vocabulary

__all__ = [
    "PARTS",
    "TARGETS",
    "Description",
    "convert",
    "describe",
    "export",
    "join",
    "merge",
    "resize_vocabulary",
    "split",
]
