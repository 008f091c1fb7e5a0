"""Conversations: dialogues as the corpus has them, in any of the ways they are written, and documents."""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from curation.forms.fields import MediaForm, Named, exchange, list_at, pick, text_at
from curation.sample import SampleError, Turn, document_turns, plain
from curation.sources.conversations import conversation_turns
from curation.sources.records import Draft, Record


@dataclass(frozen=True, kw_only=True)
class Dialogue(MediaForm):
    """A list of messages, or of exchanges, as it stands.

    messages: path of the list; "" = the record is the one exchange.
    A message is {from, value} or {role, content}; an exchange is an object with the two
    fields `exchange` names ("user", "assistant"). tag: how the corpus writes the place of a medium, if not as <image>
    and <video>. drop_tags: take the places out of the questions and put all media first, where a corpus names more or
    fewer of them than there are.
    """

    messages: str = "conversations"
    exchange: tuple[str, ...] = ()
    system: str = ""
    tag: str = ""
    drop_tags: bool = False

    def drafts(self, record: Record) -> Iterable[Draft]:
        """One sample. A picture that the record may lack is left out only where no tag asks for it."""
        media = self.media(record) if self._shows(record) else ()
        messages = list_at(record, self.messages) if self.messages else [record]
        if self.exchange:
            pairs = [self._pair(item) for item in messages]
            system = str(pick(record, self.system) or "") if self.system else ""
            yield self.draft(record, exchange(pairs, media, system=system), media)
            return
        shown = [self._message(message) for message in messages]
        names = {kind: [str(i) for i, (k, _) in enumerate(media) if k == kind] for kind in ("image", "video")}
        turns = conversation_turns({"conversations": shown}, names)  # pyright: ignore[reportArgumentType]
        yield self.draft(record, turns, list(_tagged(turns, media)))

    def _shows(self, record: Record) -> bool:
        return any(pick(record, path) not in (None, "", []) for path in (self.image, self.video) if path)

    def _pair(self, item: Any) -> tuple[str, str]:
        question, answer = (pick(item, name) for name in self.exchange)
        if not isinstance(question, str) or not isinstance(answer, str):
            raise SampleError(f"an exchange lacks {' or '.join(self.exchange)}")
        return question.replace("<image>", "").replace("<video>", ""), answer

    def _message(self, message: Any) -> Any:
        if not isinstance(message, dict):
            return message
        key = "value" if "value" in message else "content"
        text = message.get(key)
        if not isinstance(text, str):
            return message
        user = message.get("from", message.get("role")) in ("human", "user")
        if user and self.tag:
            text = text.replace(self.tag, "<video>" if self.video else "<image>")
        if user and self.drop_tags:
            text = text.replace("<image>\n", "").replace("<image>", "").replace("<video>\n", "").replace("<video>", "")
        return {**message, key: text}


def _tagged(turns: Iterable[Turn], media: Iterable[Named]) -> Iterator[Named]:
    """The media in the order of their tags; make_sample refuses what is left over."""
    left = list(media)
    for turn in turns:
        for kind in re.findall(r"<(image|video)>", turn.text):
            found = next((item for item in left if item[0] == kind), None)
            if found:
                left.remove(found)
                yield found
    yield from left


@dataclass(frozen=True, kw_only=True)
class Document(MediaForm):
    """A text document: one answer without a question. text: its path."""

    text: str = "text"

    def drafts(self, record: Record) -> Iterable[Draft]:
        """One sample."""
        yield self.draft(record, document_turns(plain(text_at(record, self.text))), ())
