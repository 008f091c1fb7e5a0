"""Pages: a page of a PDF as a picture, rendered when it is read: the PDF stays where it lies, and nothing is copied."""

import contextlib
import io
import threading
from typing import Any

from curation.media.limits import check_size
from curation.operator import OperatorError
from curation.sample import Reference, SampleError

# Member of a reference to a rendered page: "page:3:98304:name.pdf", page 3 of a PDF of 98,304 bytes at the offset.
PAGE = "page:"
# 150 dpi: text of 8 points is then 16 pixels high, about what a patch of 14 x 14 can hold.
DPI = 150
# Longest side; larger pages are rendered smaller, as VideoLLaMA3 sees at most 3.2 Mpx.
MAX_PAGE_SIDE = 2048
_pdfium = threading.Lock()  # the library is not made for threads


def render_page(data: bytes, reference: Reference) -> bytes:
    """The page that the reference names, of the PDF's bytes, as PNG.

    Raises:
        SampleError: the PDF is broken, encrypted, or has no such page.
        OperatorError: the extra "documents" is not installed.
    """
    number, _, name = _place(reference)
    try:
        import pypdfium2
    except ImportError as error:
        raise OperatorError("PDF pages need pypdfium2: pip install 'vl3[documents]'") from error
    try:
        with _pdfium, contextlib.closing(pypdfium2.PdfDocument(data)) as document:
            if number >= len(document):
                raise SampleError(f"{name}: page {number + 1} of {len(document)}: the text belongs to another PDF")
            return _render(document[number], name)
    except pypdfium2.PdfiumError as error:
        raise SampleError(f"{name}: the PDF cannot be rendered: {error}") from error


def _render(page: Any, name: str) -> bytes:
    width, height = page.get_size()
    if not (0 < width < 1e5 and 0 < height < 1e5):
        raise SampleError(f"{name}: a page of {width:g} x {height:g} points: wanted paper")
    scale = min(DPI / 72, MAX_PAGE_SIDE / max(width, height))
    check_size(max(1, round(width * scale)), max(1, round(height * scale)), what=name)
    buffer = io.BytesIO()
    picture = page.render(scale=scale).to_pil()
    picture.convert("RGB").save(buffer, "PNG", compress_level=6)
    return buffer.getvalue()


def page_reference(reference: Reference) -> Reference:
    """The reference to the PDF itself."""
    _, size, name = _place(reference)
    return Reference(uri=reference.uri, member=name or "pdf", offset=reference.offset, size=size)


def _place(reference: Reference) -> tuple[int, int, str]:
    """Number of the page, size and name of the PDF."""
    number, size, name = reference.member.removeprefix(PAGE).split(":", 2)
    return int(number), int(size), name
