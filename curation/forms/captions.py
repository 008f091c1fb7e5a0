"""Captions: a picture or clip, and what it shows."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from curation.forms.fields import MediaForm, exchange, list_at, pick, texts_at
from curation.sample import SampleError
from curation.sources.records import Draft, Record


@dataclass(frozen=True, kw_only=True)
class Captioned(MediaForm):
    """The medium, and its caption as the answer.

    text: path of a caption or of several; choice: which of them ("join": one after another, a paragraph each).
    missing: whether a record without a caption becomes an empty one, to be recaptioned, or a bad sample.
    prompt: what is asked; "" = the medium alone, as in alignment training.
    """

    image: str = "image"
    text: str = "caption"
    choice: Literal["first", "longest", "join"] = "first"
    missing: Literal["refuse", "empty"] = "refuse"
    prompt: str = ""

    def drafts(self, record: Record) -> Iterable[Draft]:
        """One sample."""
        captions = texts_at(record, self.text) if self.text else []
        if not captions and self.missing == "refuse":
            raise SampleError(f"no caption in {self.text!r}")
        caption = {"first": captions[:1], "longest": [max(captions, key=len, default="")], "join": captions}
        media = self.media(record)
        yield self.draft(record, exchange([(self.prompt, "\n".join(caption[self.choice]))], media), media)


@dataclass(frozen=True, kw_only=True)
class ListedObjects(MediaForm):
    """A picture, and what its annotations name, as one sentence: "2 dogs" is "dog (2)".

    annotations: path of the list; label: path of the name in each. It is what a captioner is given beside the picture,
    and the caption where there is no captioner.

    Source: VideoLLaMA3, arXiv:2501.13106 3.2.2: original annotations are fed together with the picture to the captioner.
    """

    image: str = "file_name"
    annotations: str = "annotations"
    label: str = "category"

    def drafts(self, record: Record) -> Iterable[Draft]:
        """One sample."""
        names = [name for a in list_at(record, self.annotations) if isinstance(name := pick(a, self.label), str)]
        counted = Counter(name.strip() for name in names if name.strip())
        if not counted:
            raise SampleError("no named object in its annotations: nothing to say of it")
        listed = ", ".join(name if count == 1 else f"{name} ({count})" for name, count in counted.items())
        media = self.media(record)
        yield self.draft(record, exchange([("", f"The picture shows: {listed}.")], media), media)
