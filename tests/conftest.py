"""What every test runs under: one thread, deterministic algorithms, the same random start."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import hypothesis
import pytest
import torch

# The first call of an operator may take a second, and the machine may be busy: no example has a deadline.
hypothesis.settings.register_profile("holdfast", deadline=None)
hypothesis.settings.load_profile("holdfast")


def pytest_configure() -> None:
    """Settings of the whole session, doctests included."""
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)


@pytest.fixture(autouse=True)
def _seeded() -> None:
    """A test that draws from the global generator draws the same whatever ran before it."""
    torch.manual_seed(0)


@pytest.fixture(scope="session")
def data_root() -> Path:
    """The folder with the real data sets."""
    folder = os.environ.get("HOLDFAST_DATA")
    if not folder:
        pytest.skip("HOLDFAST_DATA does not name the folder with the real data sets")
    return Path(folder)


WORDS = ("[PAD]", "[UNK]", "good", "bad", "the", "book", "was", "and", "on", "time", "very", "long")


@pytest.fixture
def text_network(tmp_path: Path) -> Callable[..., Path]:
    """Writes a small text network of random weights with its tokenizer, one token for each of ``WORDS``."""
    transformers = pytest.importorskip("transformers", reason="transformers is an extra")
    import tokenizers

    def write(name: str = "net", kind: str = "DistilBertModel", **settings: object) -> Path:
        words = tokenizers.Tokenizer(
            tokenizers.models.WordLevel({word: k for k, word in enumerate(WORDS)}, unk_token="[UNK]")
        )
        words.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
        tokenizer = transformers.PreTrainedTokenizerFast(
            tokenizer_object=words, pad_token="[PAD]", unk_token="[UNK]", model_max_length=20
        )
        sizes = {"dim": 8, "hidden_dim": 16, "n_layers": 1, "n_heads": 2, "max_position_embeddings": 20}
        config = transformers.DistilBertConfig(vocab_size=len(WORDS), **sizes, **settings)
        transformers.utils.logging.disable_progress_bar()
        getattr(transformers, kind)(config).save_pretrained(tmp_path / name)
        tokenizer.save_pretrained(tmp_path / name)
        return tmp_path / name

    return write
