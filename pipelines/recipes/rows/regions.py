"""Fine-grained corpora of stage 2 and grounding of stage 3: boxes, regions, referring."""

from curation.forms import Dialogue, GroundedPhrases, Referring, RegionCaptions, RegionDialogue, VisualCommonsense
from curation.forms.places import BoxLayout, Words
from curation.sources.record_files import FileRecords, JsonRecords
from curation.sources.record_tables import ParquetRecords
from pipelines.recipes.corpus import Corpus, Use

_S2, _S3 = ("stage2",), ("stage3",)


def _fine(form: RegionCaptions | RegionDialogue | GroundedPhrases, task: str, suffix: str = "") -> Use:
    return Use(stages=_S2, category="fine_grained", form=form, task=task, suffix=suffix)


REGIONS = (
    Corpus(
        name="osprey_724k", title="Osprey-724K", home="AntGroup-MI/Osprey-724K", licence="Apache-2.0", size=724_000, certain=False,
        layout="*.json [{file_name, height, width, annotation: [{bbox, segmentation}], conversations with <region1>}]; pictures of COCO 2017",
        annotations="*.json", records=JsonRecords(), media=("images/", "../coco2017/train2017/"),
        uses=(_fine(RegionDialogue(), "dialogue on regions, their boxes written out"),),
    ),
    Corpus(
        name="mdvp_data", title="MDVP-Data", home="Afeng-x/Draw-and-Understand", licence="Apache-2.0", size=1_600_000, certain=False,
        layout="*.json [{image, width, height, bbox: [[x1, y1, x2, y2]], conversations with <region1>}], images/",
        annotations="*.json", records=JsonRecords(), media=("images/",),
        uses=(_fine(RegionDialogue(image="image", regions="bbox", box="", layout=BoxLayout(shape="xyxy")), "dialogue on regions, their boxes written out"),),
    ),
    Corpus(
        name="ade20k", title="ADE20K", home="https://groups.csail.mit.edu/vision/datasets/ADE20K", licence="BSD-3-Clause (annotations)", size=25_574,
        layout="images/ADE/training/**/ADE_train_00000001.json {annotation: {filename, imsize, object: [{name, polygon: {x, y}}]}} and .jpg beside it",
        annotations="images/**/*.json", records=FileRecords(), media=("images/",),
        uses=(
            _fine(
                RegionCaptions(
                    image="annotation.filename", id="annotation.filename", file="{r[annotation][folder]}/{}",
                    words=Words(
                        items="annotation.object", text="name", box="polygon",
                        layout=BoxLayout(shape="xy_lists", width="annotation.imsize.1", height="annotation.imsize.0"),
                    ),
                ),
                "names of its objects",
            ),
        ),
    ),
    Corpus(
        name="flickr30k_entities", title="Flickr-30K", home="https://github.com/BryanPlummer/flickr30k_entities", licence="research", size=158_915,
        layout="Sentences/36979.txt, Annotations/36979.xml, flickr30k-images/36979.jpg",
        annotations="Sentences/*.txt", records=FileRecords(suffix=".txt", beside="../Annotations/{stem}.xml"), media=("flickr30k-images/",),
        uses=(_fine(GroundedPhrases(image="stem", file="{}.jpg", id="stem", entities=True), "captions whose phrases are followed by boxes"),),
    ),
    Corpus(
        name="grand", title="GranD", home="MBZUAI/GranD", licence="Apache-2.0", size=11_000_000, certain=False,
        layout="*.jsonl {file_name, width, height, caption, phrases: [{phrase, bbox: [[x1, y1, x2, y2]]}]} (dense captions), pictures of SA-1B in images/",
        annotations="*.jsonl", records=JsonRecords(), media=("images/",),
        uses=(_fine(GroundedPhrases(image="file_name", id="file_name"), "captions whose phrases are followed by boxes"),),
    ),
)  # fmt: skip

GROUNDING = (
    Corpus(
        name="refcoco", title="RefCOCO", home="jxu124/refcoco", licence="Apache-2.0", size=42_404,
        layout="data/train-*.parquet (sentences [{sent}], bbox [x1, y1, x2, y2], raw_image_info JSON, image_path); pictures of COCO 2014",
        annotations="data/*.parquet", records=ParquetRecords(), media=("images/", "../coco_text/train2014/"), certain=False,
        uses=(
            Use(
                stages=_S3, category="grounding", task="where is it, or what is there",
                form=Referring(
                    image="raw_image_info.file_name", id="ref_id",
                    layout=BoxLayout(shape="xyxy", width="raw_image_info.width", height="raw_image_info.height"),
                ),
            ),
        ),
    ),
    Corpus(
        name="vcr", title="VCR", home="https://visualcommonsense.com", licence="research, non-commercial", size=212_923,
        layout="train.jsonl {img_fn, objects, question, answer_choices, answer_label}, vcr1images/",
        annotations="train.jsonl", records=JsonRecords(), media=("vcr1images/",),
        uses=(Use(stages=_S3, category="grounding", form=VisualCommonsense(), task="multiple choice, people by number"),),
    ),
    Corpus(
        name="grounding_own", title="Grounding (in-house)", home="not published", licence="", size=100_000, published=False,
        layout="*.jsonl (LLaVA: image, conversations with <box>[x1, y1, x2, y2]</box> in thousandths), images/",
        annotations="*.jsonl", records=JsonRecords(), media=("images/",),
        uses=(Use(stages=_S3, category="grounding", form=Dialogue(image="image"), task="as is"),),
    ),
)  # fmt: skip
