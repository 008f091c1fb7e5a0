"""What docs say of corpora is what the rows say."""

import importlib.util
from pathlib import Path

DOCS = Path(__file__).parents[2] / "docs"


def test_tables_of_corpora_are_current() -> None:
    spec = importlib.util.spec_from_file_location("docs_corpora", DOCS / "corpora.py")
    assert spec
    assert spec.loader
    page = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(page)
    assert (DOCS / "corpora.md").read_text() == page.layouts(), "run python docs/corpora.py"
    assert page.tables() in (DOCS / "recipes.md").read_text(), "run python docs/corpora.py"


def test_every_task_form_has_an_example() -> None:
    from curation import forms

    text = (DOCS / "recipes.md").read_text()
    told = {line.split()[1].rstrip(",") for line in text.splitlines() if line.startswith("#### ")}
    assert set(forms.__all__) - told == {"Document"}  # plain text documents, which no corpus of the paper is
    for line in text.splitlines():
        if "](examples/" in line:
            assert (DOCS / line.partition("](")[2].rstrip(")")).is_file(), line
