"""Questions: question and answer about a picture, page, chart or clip; free, short, or multiple choice."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from curation.forms.fields import MediaForm, exchange, list_at, pick, text_at, texts_at
from curation.sample import SampleError
from curation.sources.records import Draft, Record

_LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
SHORT = "Answer the question using a single word or phrase."
LETTER = "Answer with the option's letter from the given choices directly."


@dataclass(frozen=True, kw_only=True)
class Questions(MediaForm):
    """The questions of a record about its media, one exchange each.

    items: path of a list of questions; "" = the record is one. question, answer: paths in each; of several right answers
    the most frequent one, then the first, is taken. choices: path of options; `answer` is then the right one's text,
    number from 0, or letter. hint: what is added to the question about the form of the answer.

    Source of the hints' kind: LLaVA-1.5, arXiv:2310.03744 (response format prompts); the wording is ours.
    """

    items: str = ""
    question: str = "question"
    answer: str = "answer"
    choices: str = ""
    hint: str = ""

    def drafts(self, record: Record) -> Iterable[Draft]:
        """One sample."""
        items = list_at(record, self.items) if self.items else [record]
        media = self.media(record)
        yield self.draft(record, exchange([self._pair(item) for item in items], media), media)

    def _pair(self, item: Any) -> tuple[str, str]:
        question = text_at(item, self.question).strip()
        if not question:
            raise SampleError(f"field {self.question!r} is empty: wanted a question")
        if self.choices:
            options = [str(option).strip() for option in list_at(item, self.choices)]
            return _with_options(question, options), _LETTERS[_right(pick(item, self.answer), options)]
        answers = texts_at(item, self.answer)
        if not answers:
            raise SampleError(f"no answer in {self.answer!r}: leave the question out at the source")
        best = max(answers, key=answers.count)  # of equals the first
        return "\n".join(part for part in (question, self.hint) if part), best


def _with_options(question: str, options: list[str]) -> str:
    if not 2 <= len(options) <= len(_LETTERS):
        raise SampleError(f"{len(options)} options: wanted 2 to {len(_LETTERS)}")
    listed = [f"{letter}. {option}" for letter, option in zip(_LETTERS, options, strict=False)]
    return "\n".join([question, *listed, LETTER])


def _right(answer: Any, options: list[str]) -> int:
    if isinstance(answer, int) and not isinstance(answer, bool) and 0 <= answer < len(options):
        return answer
    text = str(answer).strip()
    if text in options:
        return options.index(text)
    letter = text.strip("(). ").upper()
    if len(letter) == 1 and letter in _LETTERS[: len(options)]:
        return _LETTERS.index(letter)
    if text.isdigit() and int(text) < len(options):
        return int(text)
    raise SampleError(f"answer {text[:80]!r} is none of {len(options)} options")


@dataclass(frozen=True, kw_only=True)
class VisualCommonsense(MediaForm):
    """VCR: which answer, in words where the corpus points at people and things by number.

    A question is a list of words and of lists of places in `objects`; place 2 of [person, car, person] is "person 2".

    Source: VCR, arXiv:1811.10830 (annotation format).
    """

    image: str = "img_fn"
    id: str = "annot_id"

    def drafts(self, record: Record) -> Iterable[Draft]:
        """One sample: the question with its four answers."""
        objects = [str(name) for name in list_at(record, "objects")]
        named = [f"{name} {objects[: i + 1].count(name)}" for i, name in enumerate(objects)]
        question = _words(list_at(record, "question"), named)
        options = [_words(choice, named) for choice in list_at(record, "answer_choices") if isinstance(choice, list)]
        right = _LETTERS[_right(pick(record, "answer_label"), options)]
        media = self.media(record)
        yield self.draft(record, exchange([(_with_options(question, options), right)], media), media)


def _words(tokens: list[Any], named: list[str]) -> str:
    words: list[str] = []
    for token in tokens:
        if not isinstance(token, list):
            words.append(str(token))
            continue
        if not all(isinstance(place, int) and 0 <= place < len(named) for place in token):
            raise SampleError(f"words point at {str(token)[:40]} of {len(named)} objects")
        words.append(" and ".join(named[place] for place in token))
    text = " ".join(words)
    for mark in (".", ",", "?", "!", "'s", "n't"):
        text = text.replace(f" {mark}", mark)
    return text
