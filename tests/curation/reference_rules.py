"""Reference rules: the published text rules written as plainly as they can be, with no shared code; slow."""

import re
from collections import Counter

import numpy as np

SYMBOLS = set("!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~…“”„’«»–—")
STOP = {"the", "be", "to", "of", "and", "that", "have", "with"}


def ratio(part: float, whole: float) -> float:
    return part / whole if whole else float("nan")


def duplicates(elements: list[str]) -> tuple[int, int]:
    """Elements that stood there before, and their characters."""
    again = [e for i, e in enumerate(elements) if e in elements[:i]]
    return len(again), sum(map(len, again))


def top_characters(words: list[str], n: int) -> int:
    grams = [" ".join(words[i : i + n]) for i in range(len(words) - n + 1)]
    if not grams:
        return 0
    most = max(Counter(grams).values())
    first = next(gram for gram in grams if grams.count(gram) == most)
    return most * len(first)


def duplicate_characters(words: list[str], n: int) -> int:
    seen: list[str] = []
    total = i = 0
    while i + n <= len(words):
        gram = "".join(words[i : i + n])
        if gram in seen:
            total += len(gram)
            i += n
        else:
            seen.append(gram)
            i += 1
    return total


def word_rules(text: str, words: list[str]) -> dict[str, float]:
    spoken = [w for w in words if set(w) - SYMBOLS]
    ellipses = len(re.findall(r"\.\.\.|…", text))
    rules = {
        "SpokenWords": len(spoken),
        "MeanWordLength": float(np.mean([len(w) for w in spoken])) if spoken else float("nan"),
        "HashesPerWord": ratio(text.count("#"), len(words)),
        "EllipsesPerWord": ratio(ellipses, len(words)),
        "AlphabeticWords": ratio(sum(any(c.isalpha() for c in w) for w in words), len(words)),
        "StopWords": len(STOP & set(words)),
        "NewlinesPerWord": ratio(text.count("\n"), len(words)),
    }
    rules |= {f"TopNgram[{n}]": ratio(top_characters(words, n), len(text)) for n in (2, 3, 4)}
    return rules | {f"DuplicateNgrams[{n}]": ratio(duplicate_characters(words, n), len(text)) for n in range(5, 11)}


def line_rules(text: str, ends: str) -> dict[str, float]:
    lines = text.splitlines()
    pieces = re.split(r"\n+", text)
    paragraphs = re.split(r"\n{2,}", text.strip())
    full = [line for line in text.split("\n") if line.strip()]
    none = not text
    return {
        "BulletLines": ratio(sum(x.lstrip()[:1] in ("•", "-") and bool(x.strip()) for x in lines), len(lines)),
        "EllipsisLines": ratio(sum(x.rstrip().endswith(("...", "…")) for x in lines), len(lines)),
        "DuplicateLines": ratio(duplicates(pieces)[0], len(pieces) * (not none)),
        "DuplicateLineCharacters": ratio(duplicates(pieces)[1], len(text)),
        "DuplicateParagraphs": ratio(duplicates(paragraphs)[0], len(paragraphs) * (not none)),
        "DuplicateParagraphCharacters": ratio(duplicates(paragraphs)[1], len(text)),
        "StoppedLines": ratio(sum(x[-1] in ends for x in full), len(full)),
        "ShortLines": ratio(sum(len(x) <= 30 for x in full), len(full)),
        "RepeatedLineCharacters": ratio(duplicates(full)[1], len(text.replace("\n", "")) * bool(full)),
    }


def c4_rules(text: str) -> dict[str, float]:
    """Sentences are counted where words are parted by single spaces and a stop ends its word."""
    sentences = lorem = curly = 0
    for line in text.splitlines():
        words, cleaned = line.split(), re.sub(r"\[\d*\]|\[edit\]|\[citation needed\]", "", line.strip())
        if any(len(w) > 1000 for w in words) or len(words) < 3:
            continue
        if not cleaned.endswith((".", "?", "!", '"', "'")) or cleaned.endswith("..."):
            continue
        low = cleaned.lower()
        if "lorem ipsum" in low:
            lorem += 1
        elif "javascript" in low:
            continue
        elif "{" in cleaned:
            curly += 1
        elif not re.search("terms of use|privacy policy|cookie policy|uses cookies|use of cookies|use cookies", low):
            sentences += len(re.findall(r"[^.?!\s][^.?!]*", cleaned))
    return {"C4Sentences": sentences, "LoremIpsum": lorem, "CurlyBrackets": curly}
