"""Tokenizer: text to token ids and back; a small one is shipped, published ones are read from their directories.

`python -m model.tokenizer OUT` trains the shipped one again, byte for byte, from text that this file composes.
"""

from __future__ import annotations

import hashlib
import json
import random
import sys
from collections.abc import Callable, Iterator, Sequence
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Protocol

import tokenizers
from tokenizers import AddedToken, Regex, decoders, models, normalizers, pre_tokenizers, trainers

ASSETS = Path(__file__).parent / "assets"
SHIPPED = ASSETS / "tokenizer"

IM_START, IM_END, END_OF_TEXT = "<|im_start|>", "<|im_end|>", "<|endoftext|>"
STREAM_START, STREAM_END = "<|stream_start|>", "<|stream_end|>"
IMAGE_TOKEN = "<image>"  # the original's placeholder, for images and frames alike
IMAGE_PAD, VIDEO_PAD = "<|image_pad|>", "<|video_pad|>"  # the Hugging Face port's placeholders
# Their order gives the shipped tokenizer's ids 0..7.
SPECIAL_TOKENS = (END_OF_TEXT, IM_START, IM_END, IMAGE_TOKEN, IMAGE_PAD, VIDEO_PAD, STREAM_START, STREAM_END)

SHIPPED_SIZE = 4008  # 4,000 byte-pair tokens and the special ones
# How text is cut before byte pairs are merged: single digits, words with the space before them.
# Source: Qwen2's published tokenizer.
SPLIT = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
_SHORT = 32  # characters; headers and time stamps come back in every sample, so they are remembered


class Encoder(Protocol):
    """What the chat needs of a tokenizer."""

    def encode(self, text: str) -> Sequence[int]:
        """Token ids of `text`, in which the literals of special tokens become their ids."""
        ...

    def token_to_id(self, token: str) -> int | None:
        """Id of a token, None if there is none of that name."""
        ...


class Tokenizer:
    """A `tokenizers` tokenizer with the few calls that the project makes. Pickles with its vocabulary."""

    def __init__(self, backend: tokenizers.Tokenizer) -> None:
        self.backend = backend
        backend.no_truncation()
        backend.no_padding()

    @classmethod
    def shipped(cls) -> Tokenizer:
        """The project's own byte-level tokenizer of at most 4,096 ids, for tests, the demo and the tiny model."""
        return cls.load(SHIPPED)

    @classmethod
    def load(cls, path: str | Path) -> Tokenizer:
        """Read a model directory or a tokenizer.json; falls back on vocab.json, merges.txt and added_tokens.json.

        Raises ValueError if there is neither.
        """
        path = Path(path)
        file = path / "tokenizer.json" if path.is_dir() else path
        if file.is_file():
            return cls(tokenizers.Tokenizer.from_file(str(file)))
        if (path / "vocab.json").is_file() and (path / "merges.txt").is_file():
            return cls(_read_parts(path))
        raise ValueError(f"{path}: found no tokenizer; wanted tokenizer.json, or vocab.json with merges.txt")

    def encode(self, text: str) -> list[int]:
        """Token ids of `text`; nothing is added at its ends. Literals of special tokens become special ids.

        Raises ValueError if the text is not valid Unicode.
        """
        return list(self._remembered(text)) if len(text) <= _SHORT else self._encode(text)

    def decode(self, ids: Sequence[int], *, skip_special_tokens: bool = False) -> str:
        """Text of token ids."""
        return self.backend.decode(list(ids), skip_special_tokens=skip_special_tokens)

    def token_to_id(self, token: str) -> int | None:
        """Id of a token, None if there is none of that name."""
        return self.backend.token_to_id(token)

    def id_to_token(self, number: int) -> str:
        """Name of a token. Raises ValueError if there is no such id."""
        token = self.backend.id_to_token(number)
        if token is None:
            raise ValueError(f"tokenizer: found no id {number}, wanted one below {len(self)}")
        return token

    def add_special_tokens(self, tokens: Sequence[str]) -> None:
        """Append tokens that are not there yet, at the next free ids."""
        missing = [token for token in tokens if self.backend.token_to_id(token) is None]
        self.backend.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in missing])
        self.__dict__.pop("literals", None)

    @cached_property
    def literals(self) -> frozenset[str]:
        """Strings that `encode` turns into one id whatever surrounds them: what raw text must not contain."""
        return frozenset(token.content for token in self.backend.get_added_tokens_decoder().values())

    def digest(self) -> str:
        """Name of this tokenizer, 32 hex digits; token counts made with another one do not hold."""
        return hashlib.sha256(self.backend.to_str().encode()).hexdigest()[:32]

    def __len__(self) -> int:
        """Number of ids."""
        return self.backend.get_vocab_size(with_added_tokens=True)

    def __getstate__(self) -> tokenizers.Tokenizer:
        return self.backend

    def __setstate__(self, backend: tokenizers.Tokenizer) -> None:
        self.__init__(backend)

    def _encode(self, text: str) -> list[int]:
        try:
            return self.backend.encode(text, add_special_tokens=False).ids
        except TypeError as error:  # what the library says of half a surrogate pair
            raise ValueError(f"text {text[:40]!a} is not valid Unicode; decode it with its real encoding") from error

    @cached_property
    def _remembered(self) -> Callable[[str], tuple[int, ...]]:
        return lru_cache(maxsize=8192)(lambda text: tuple(self._encode(text)))

    def save(self, path: str | Path, *, image_token: str = IMAGE_PAD, video_token: str = VIDEO_PAD) -> None:
        """Write tokenizer.json and tokenizer_config.json, which transformers' AutoTokenizer reads."""
        path = Path(path)
        path.mkdir(parents=True, exist_ok=True)
        self.backend.save(str(path / "tokenizer.json"))
        config = {
            "tokenizer_class": "PreTrainedTokenizerFast",
            "eos_token": IM_END,
            "pad_token": END_OF_TEXT,
            "extra_special_tokens": {"image_token": image_token, "video_token": video_token},
            "clean_up_tokenization_spaces": False,
            "model_max_length": 32768,
        }
        (path / "tokenizer_config.json").write_text(json.dumps(config, indent=2, sort_keys=True) + "\n")


def train() -> Tokenizer:
    """Train the shipped tokenizer. Deterministic: the same ids in every process."""
    backend = _byte_level(tokenizers.Tokenizer(models.BPE()))
    trainer = trainers.BpeTrainer(
        vocab_size=SHIPPED_SIZE,
        min_frequency=2,
        special_tokens=list(SPECIAL_TOKENS),
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    backend.train_from_iterator(compose_text(), trainer)
    return Tokenizer(backend)


def _byte_level(backend: tokenizers.Tokenizer) -> tokenizers.Tokenizer:
    backend.normalizer = normalizers.NFC()  # type: ignore[assignment]
    split = pre_tokenizers.Split(Regex(SPLIT), behavior="isolated")
    byte_level = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    backend.pre_tokenizer = pre_tokenizers.Sequence([split, byte_level])  # type: ignore[assignment]
    backend.decoder = decoders.ByteLevel()  # type: ignore[assignment]
    return backend


def _read_parts(path: Path) -> tokenizers.Tokenizer:
    backend = _byte_level(
        tokenizers.Tokenizer(models.BPE.from_file(str(path / "vocab.json"), str(path / "merges.txt")))
    )
    file = path / "added_tokens.json"
    added = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}
    for token, wanted in sorted(added.items(), key=lambda entry: entry[1]):
        backend.add_special_tokens([AddedToken(token, special=True, normalized=False)])
        if backend.token_to_id(token) != wanted:
            raise ValueError(f"{file}: {token} got id {backend.token_to_id(token)}, wanted {wanted}; ids must be dense")
    return backend


_FILLS = {
    "color": "red|blue|green|yellow|orange|purple|pink|brown|black|white|gray|silver|gold|cyan|magenta",
    "shape": "circle|square|triangle|rectangle|star|diamond|ball|cube|ring|arrow|line|bar|box|cross",
    "place": "on the left|on the right|at the top|at the bottom|in the middle|in the top left corner|in the background"
    "|in the foreground|near the edge|in the bottom right corner|next to the {shape}|above the {color} {shape}"
    "|below the {shape}|behind the {noun}|to the left of the {color} {shape}|to the right of the {noun}",
    "move": "moves to the right|moves to the left|moves up|moves down|falls|rises|stops|turns around|disappears|appears"
    "|bounces off the wall|crosses the screen|grows larger|becomes smaller"
    "|stays in place|changes from {color} to {color}",
    "month": "January|February|March|April|May|June|July|August|September|October|November|December",
    "count": "one|two|three|four|five|six|seven|eight|nine|ten|no|several",
    "letter": "A|B|C|D",
    "date": "{month} {day}, {year}",
}
_RANGES = {
    "number": (0, 1000),
    "day": (1, 29),
    "year": (1900, 2030),
    "whole": (0, 500),
    "cents": (10, 100),
    "tenth": (0, 10),
}
_TEMPLATES = (
    "The image shows a {color} {shape} {place}.",
    "There are {count} {color} {shape}s {place} and {count} {noun}s.",
    "A {color} {shape} {move} while the {noun} is {place}.",
    "What color is the {shape}? It is {color}.",
    "How many {shape}s are there in the image? There are {count}.",
    "Where is the {color} {shape}? It is {place}.",
    "What happens at {whole}.{tenth} seconds? The {color} {shape} {move}.",
    "Time {whole}.{tenth}s: the {noun} {move}. From {whole}.{tenth}s to {whole}.{tenth}s it stays {place}.",
    "Describe this image in detail. The picture shows a {noun} and a {noun} {place}.",
    "Describe the video. At first a {color} {shape} is {place}, then it {move}.",
    "Is the {shape} {color} or {color}? Answer with one word: {color}.",
    "Read the text in the document.\n{Noun} {number}\nTotal: ${whole}.{cents}\nDate: {date}\n",
    "Invoice No. {number}: {count} x {noun} at ${whole}.{cents} each, total ${whole}.{cents}.",
    "The chart shows {noun} by {noun}. In {year} the value is {number}%, which is higher than {number}% in {year}.",
    "| {noun} | {number} | {whole}.{cents} |\n",
    "On {date} the price of the {noun} was {whole}.{cents} dollars, up {number} percent from {year}.",
    "I think that the {noun} and the {noun} were not there when we came back at {whole}.{tenth} o'clock.",
    "You can see it's a {noun}, but they don't know whether the {noun} has been {noun}.",
    "This is one of the {noun}s that would have made {noun} and {noun} possible.",
    '"{Noun}," she said, "is what he wanted: a {noun}, a {noun} and some {noun}."',
    "Which option is correct? (A) {noun} (B) {noun} (C) {noun} (D) {noun}. The answer is {letter}.",
    "- {noun}: {noun}, {noun}; {noun}\n",
)
_ENDINGS = ("s", "ed", "ing", "ly", "er", "ness", "ment", "tion", "able", "al", "ity", "ive", "ful", "ous", "est")


def compose_text(lines: int = 40_000, seed: int = 0) -> Iterator[str]:
    """Plain English lines of the project's own making, `lines` of them, then every listed word with its endings."""
    rng = random.Random(seed)
    words = list(dict.fromkeys((ASSETS / "words.txt").read_text(encoding="utf-8").split()))
    for _ in range(lines):
        yield _fill(rng.choice(_TEMPLATES), words, rng)
    for word in words:
        yield f"{word} {word} {word.capitalize()} " + " ".join(word + ending for ending in _ENDINGS)


def _fill(template: str, words: Sequence[str], rng: random.Random) -> str:
    """Replace the places one at a time, so that the same word does not fill every place of its kind."""
    filled = ""
    while "{" in template:
        before, _, rest = template.partition("{")
        name, _, template = rest.partition("}")
        filled += before
        if name in _RANGES:
            filled += str(rng.randrange(*_RANGES[name]))
        elif name in _FILLS:
            template = rng.choice(_FILLS[name].split("|")) + template
        else:
            word = words[
                int(rng.random() ** 2 * len(words))
            ]  # early words are the common ones: the square prefers them
            filled += word.capitalize() if name == "Noun" else word
    return filled + template


if __name__ == "__main__":
    if len(sys.argv) != 2:
        raise SystemExit("usage: python -m model.tokenizer OUT   (a directory)")
    train().save(sys.argv[1])
