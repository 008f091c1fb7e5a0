"""Masks for personal data, and encoding repair: what is masked, what is left, and hostile input."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from curation.transforms import MaskPersonalData, RepairEncoding
from tests.curation.text_samples import document, talk

MASK = MaskPersonalData().mask
KEYS = [
    "AKIAIOSFODNN7EXAMPLE",
    "ghp_" + "a1B2" * 9,
    "sk-proj-" + "a1B2" * 8,
    "xoxb-123456789012-abcdefghij",
    "hf_" + "a1B2" * 9,
    "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0In0.dozjgNryP4J3jVmNHl0w5N_XgL0n3I9P",
    "-----BEGIN RSA PRIVATE KEY-----\nMIIEow\nabc=\n-----END RSA PRIVATE KEY-----",
]


@pytest.mark.parametrize(
    ("text", "masked"),
    [
        ("Write to jane.doe+x@mail.example.org.", "Write to [EMAIL]."),
        ("<bob@example.com>,b@c.io", "<[EMAIL]>,[EMAIL]"),
        ("from 8.8.8.8:53 or 2001:4860:4860::8888 it came", "from [IP]:53 or [IP] it came"),
        ("call +49 30 901820 or (555) 123-4567, 555-123-4567", "call [PHONE] or [PHONE], [PHONE]"),
        ("+1 (415) 555-2671!", "[PHONE]!"),
        *((f"key {key} end", "key [KEY] end") for key in KEYS),
    ],
)
def test_personal_data_is_masked(text: str, masked: str) -> None:
    assert MASK(text) == masked


@pytest.mark.parametrize(
    "text",
    [
        "at 10:30:45 on 2020-01-02 the score was 3:2",
        "192.168.0.1, 127.0.0.1, 10.1.2.3, ::1 and fe80::1 are private",
        "version 1.2.3 and v1.2.3.4 and 999.8.7.6",
        "user@localhost and @handle and a @ b",
        "pi is 3.14159265, 1,000,000,000 people, ISBN 978-3-16-148410-0",
        "class std::vector<int>::iterator",
        "order 4111 1111 and ratio 12-34",
        "task-force and sk-ate",
    ],
)
def test_what_names_nobody_stays(text: str) -> None:
    assert MASK(text) == text


@settings(max_examples=60, deadline=None)
@given(st.text(max_size=60), st.text("0123456789.+-() @:ae", max_size=60))
def test_masking_again_changes_nothing_and_makes_no_media(left: str, right: str) -> None:
    once = MASK(left + right)
    assert MASK(once) == once
    assert "<image>" not in once or "<image>" in left + right


def test_every_turn_is_masked_and_an_empty_mark_leaves_its_kind_alone() -> None:
    before = talk(("user", "<image> of a@b.org"), ("assistant", "ask c@d.org at 8.8.8.8"), media=1)
    after = MaskPersonalData(email="").rewrite(before)
    assert [turn.text for turn in after.turns] == ["<image> of a@b.org", "ask c@d.org at [IP]"]
    assert [turn.text for turn in MaskPersonalData().rewrite(before).turns] == [
        "<image> of [EMAIL]",
        "ask [EMAIL] at [IP]",
    ]


@pytest.mark.timeout(60)
@pytest.mark.parametrize(
    "unit", ["a@", "a.", "1.", "1-", "::", "+1 ", "(1", "-----BEGIN PRIVATE KEY-----", "sk-", "eyJaaaaaaaa.", "@a."]
)
def test_hostile_text_is_masked_in_linear_time(unit: str) -> None:
    MASK(unit * (200_000 // len(unit)))


def test_mojibake_is_repaired_and_tags_stay() -> None:
    pytest.importorskip("ftfy")
    broken = "café <image> naïve".encode().decode("latin-1")
    before = talk(("user", broken), ("assistant", "déjà “vu” &amp; ﬁn"), media=1)
    user, assistant = RepairEncoding().rewrite(before).turns
    assert user.text == "café <image> naïve"
    assert assistant.text == "déjà “vu” & ﬁn"
    assert RepairEncoding().rewrite(document("&lt;image&gt;")).turns[0].text == "< image>"


@settings(max_examples=60, deadline=None)
@given(st.text(max_size=50))
def test_repaired_text_is_left_alone_the_second_time(text: str) -> None:
    pytest.importorskip("ftfy")
    once = RepairEncoding(entities="never").rewrite(document(text))
    assert RepairEncoding(entities="never").rewrite(once) == once
