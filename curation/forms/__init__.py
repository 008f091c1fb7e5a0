"""Forms: what a record of a corpus becomes, one file per family of tasks. See `curation.sources.records`.

captions       a picture or clip and what it shows          documents   pages and their text in reading order
conversations  dialogues as they are                        scene_text  text in scenes, with boxes; five OCR tasks
questions      question and answer, multiple choice         moments     when things happen; dense captions; order
boxes          regions, grounded captions, referring        streams     comments while a video runs
"""

from curation.forms.boxes import GroundedPhrases, Points, Referring, RegionCaptions, RegionDialogue
from curation.forms.captions import Captioned, ListedObjects
from curation.forms.conversations import Dialogue, Document
from curation.forms.documents import DocumentText, PageLines, PdfPages
from curation.forms.moments import DenseCaption, EventOrder, Grounding
from curation.forms.questions import Questions, VisualCommonsense
from curation.forms.scene_text import OcrTasks, SceneText
from curation.forms.streams import Streaming

__all__ = [
    "Captioned",
    "DenseCaption",
    "Dialogue",
    "Document",
    "DocumentText",
    "EventOrder",
    "GroundedPhrases",
    "Grounding",
    "ListedObjects",
    "OcrTasks",
    "PageLines",
    "PdfPages",
    "Points",
    "Questions",
    "Referring",
    "RegionCaptions",
    "RegionDialogue",
    "SceneText",
    "Streaming",
    "VisualCommonsense",
]
