from __future__ import annotations

import pytest
from little_language import trained_model
from transformers import GPT2LMHeadModel


@pytest.fixture(scope="session")
def model() -> GPT2LMHeadModel:
    return trained_model()
