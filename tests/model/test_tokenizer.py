"""The shipped tokenizer against the command that made it, and published layouts."""

import json
import pickle
from pathlib import Path

import pytest

from model.tokenizer import SHIPPED, SPECIAL_TOKENS, Tokenizer, train
from model.torchvision_repair import repair_torchvision

TEXTS = [
    "A red ball moves to the right while the green square stays in place.",
    "Invoice No. 4711: 3 x chairs at $49.90, paid on May 3, 2021\n\n\tTotal: $149.70  \r\n",
    "naïve café 漢字 العربية 🙂 \x00 e\u0301",
    "don't I'LL <|im_start|>user\n<image><|video_pad|>",
    "",
]


def test_shipped_tokenizer_is_what_its_command_makes(tmp_path: Path) -> None:
    train().save(tmp_path)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        assert (tmp_path / name).read_bytes() == (SHIPPED / name).read_bytes(), f"{name}: run python -m model.tokenizer"


def test_shipped_tokenizer_is_small_and_names_its_tokens() -> None:
    tokenizer = Tokenizer.shipped()
    assert len(tokenizer) <= 4096
    assert [tokenizer.token_to_id(token) for token in SPECIAL_TOKENS] == list(range(8))
    assert set(SPECIAL_TOKENS) == tokenizer.literals
    assert tokenizer.token_to_id("<nothing>") is None
    assert tokenizer.id_to_token(2) == "<|im_end|>"
    with pytest.raises(ValueError, match="found no id 5000"):
        tokenizer.id_to_token(5000)


@pytest.mark.parametrize("text", TEXTS)
def test_text_comes_back_from_its_tokens(text: str) -> None:
    tokenizer = Tokenizer.shipped()
    assert tokenizer.decode(tokenizer.encode(text)) == text.replace("e\u0301", "é")


def test_plain_english_takes_few_tokens() -> None:
    text = "The picture shows two people sitting on a wooden bench near the lake, with mountains in the background."
    assert len(Tokenizer.shipped().encode(text)) <= 1.5 * len(text.split())


def test_tokenizer_survives_pickling() -> None:
    tokenizer = Tokenizer.shipped()
    copy = pickle.loads(pickle.dumps(tokenizer))
    assert [copy.encode(text) for text in TEXTS] == [tokenizer.encode(text) for text in TEXTS]
    assert copy.digest() == tokenizer.digest()


def test_transformers_reads_the_same_tokens(tmp_path: Path) -> None:
    repair_torchvision()
    from transformers import AutoTokenizer

    tokenizer = Tokenizer.shipped()
    tokenizer.save(tmp_path)
    reference = AutoTokenizer.from_pretrained(tmp_path)
    assert [reference.encode(text) for text in TEXTS] == [tokenizer.encode(text) for text in TEXTS]
    assert reference.eos_token == "<|im_end|>"


def test_vocabulary_and_merges_make_the_same_tokenizer(tmp_path: Path) -> None:
    """The original release ships vocab.json, merges.txt and added_tokens.json."""
    saved = json.loads((SHIPPED / "tokenizer.json").read_text())["model"]
    plain = sorted((i, token) for token, i in saved["vocab"].items() if token not in SPECIAL_TOKENS)
    (tmp_path / "vocab.json").write_text(json.dumps({token: rank for rank, (_, token) in enumerate(plain)}))
    merges = "\n".join(" ".join(pair) for pair in saved["merges"])
    (tmp_path / "merges.txt").write_text(f"#version: 0.2\n{merges}\n")
    added = {token: len(plain) + rank for rank, token in enumerate(SPECIAL_TOKENS)}
    (tmp_path / "added_tokens.json").write_text(json.dumps(added))
    tokenizer, shipped = Tokenizer.load(tmp_path), Tokenizer.shipped()
    for text in TEXTS:
        names = [shipped.id_to_token(number) for number in shipped.encode(text)]
        assert [tokenizer.id_to_token(number) for number in tokenizer.encode(text)] == names
    assert tokenizer.token_to_id("<image>") == added["<image>"]


def test_added_tokens_with_holes_are_refused(tmp_path: Path) -> None:
    (tmp_path / "vocab.json").write_text(json.dumps({"a": 0, "b": 1}))
    (tmp_path / "merges.txt").write_text("#version: 0.2\n")
    (tmp_path / "added_tokens.json").write_text(json.dumps({"<image>": 7}))
    with pytest.raises(ValueError, match="<image> got id 2, wanted 7"):
        Tokenizer.load(tmp_path)


def test_missing_tokens_are_appended_once() -> None:
    tokenizer = Tokenizer.shipped()
    size = len(tokenizer)
    tokenizer.add_special_tokens(["<image>", "<|new|>", "<|new|>"])
    assert len(tokenizer) == size + 1
    assert tokenizer.encode("a<|new|>")[-1] == size
    assert "<|new|>" in tokenizer.literals


def test_directory_without_a_tokenizer_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"found no tokenizer; wanted tokenizer\.json"):
        Tokenizer.load(tmp_path)
