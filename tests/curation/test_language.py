"""Language filter: sentences of several languages, nothing to judge, and languages nobody knows."""

import numpy as np
import pytest

from curation.filters import Language
from curation.operator import RecipeError
from tests.curation.text_samples import measure

pytest.importorskip("py3langid")

SENTENCES = {
    "en": "The weather was bright and cold, and the clocks were striking thirteen when he came home.",
    "de": "Das Wetter war hell und kalt, und die Uhren schlugen dreizehn, als er nach Hause kam.",
    "fr": "Le temps était clair et froid, et les horloges sonnaient treize heures quand il rentra.",
    "ru": "Погода была ясная и холодная, и часы били тринадцать, когда он вернулся домой.",
    "zh": "天气晴朗而寒冷，他回到家时钟敲了十三下，街上没有一个人。",
}


def test_every_sentence_is_most_probable_in_its_own_language() -> None:
    texts = list(SENTENCES.values())
    table = np.array([measure(Language(language=language), *texts) for language in SENTENCES])
    assert (table.argmax(axis=0) == np.arange(len(texts))).all()
    assert ((table >= 0) & (table <= 1)).all()
    assert measure(Language(), SENTENCES["en"])[0] > Language().low  # type: ignore[operator]


def test_text_without_letters_has_no_language() -> None:
    np.testing.assert_equal(measure(Language(), "", "12 + 3 = 15 !"), [np.nan, np.nan])


def test_unknown_language_is_refused_before_anything_is_measured() -> None:
    with pytest.raises(RecipeError, match="no such language; wanted one of ace, af"):
        Language(language="tlh").open()
