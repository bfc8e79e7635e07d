"""A byte-level vocabulary of about a thousand tokens, in the format of transformers' CLIPTokenizer.

It reads any text: a word the captions do not have falls apart into pieces and, at worst, bytes.
End-of-text is the highest id, as open_clip's pooling expects, and padding is a token of its own.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer, pre_tokenizers
from tokenizers.models import BPE
from tokenizers.trainers import BpeTrainer
from transformers import CLIPTokenizer

CONTEXT = 24  # tokens; the longest caption takes fewer
_END = "</w>"
_SPECIAL = ("<|pad|>", "<|startoftext|>", "<|endoftext|>")


def train_tokenizer(captions: Iterable[str]) -> CLIPTokenizer:
    """Byte-pair merges learned from captions, on top of all 256 bytes."""
    reader = CLIPTokenizer()  # for its normaliser and its way of cutting text into words
    learner = Tokenizer(BPE(end_of_word_suffix=_END))
    learner.normalizer = reader.backend_tokenizer.normalizer
    learner.pre_tokenizer = reader.backend_tokenizer.pre_tokenizer
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    learner.train_from_iterator(
        captions,
        BpeTrainer(
            vocab_size=2048, min_frequency=8, initial_alphabet=alphabet, end_of_word_suffix=_END,
            show_progress=False,
        ),
    )  # fmt: skip
    merges = [tuple(pair) for pair in _merges(learner)]
    tokens = [*alphabet, *(letter + _END for letter in alphabet)]
    tokens += [first + second for first, second in merges]
    vocabulary = {token: i for i, token in enumerate([*dict.fromkeys(tokens), *_SPECIAL])}
    pad, start, end = _SPECIAL
    return CLIPTokenizer(
        vocabulary, merges, unk_token=end, bos_token=start, eos_token=end, pad_token=pad,
        model_max_length=CONTEXT,
    )  # fmt: skip


def _merges(tokenizer: Tokenizer) -> list[list[str]]:
    import json

    merges: list[list[str]] = json.loads(tokenizer.to_str())["model"]["merges"]
    return merges


def encode(tokenizer: CLIPTokenizer, texts: list[str]) -> NDArray[np.int64]:
    """(n,) texts -> (n, CONTEXT) token ids."""
    ids = tokenizer(texts, padding="max_length", truncation=True, max_length=CONTEXT).input_ids
    return np.array(ids, dtype=np.int64)


def load_tokenizer(folder: Path) -> CLIPTokenizer:
    """The tokenizer saved in a folder."""
    return CLIPTokenizer.from_pretrained(folder)
