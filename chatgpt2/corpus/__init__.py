"""Files → dialogues: find and detect, read, normalise, report."""

from chatgpt2.corpus.detect import FORMATS
from chatgpt2.corpus.files import bundled_corpus, corpus_files
from chatgpt2.corpus.read import CorpusFile, open_corpus_file, read_corpus, read_file
from chatgpt2.corpus.record import Tally

__all__ = [
    "FORMATS",
    "CorpusFile",
    "Tally",
    "bundled_corpus",
    "corpus_files",
    "open_corpus_file",
    "read_corpus",
    "read_file",
]
