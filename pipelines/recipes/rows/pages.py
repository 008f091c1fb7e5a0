"""Scene text, documents and charts of stages 1 to 3."""

from curation.forms import Captioned, Dialogue, DocumentText, OcrTasks, PageLines, PdfPages, Questions, SceneText
from curation.forms.places import BoxLayout, Words
from curation.forms.questions import SHORT
from curation.sources.coco import CocoRecords
from curation.sources.record_files import FileRecords, JsonRecords, NextRecords
from curation.sources.record_tables import ParquetRecords, TarRecords
from pipelines.recipes.corpus import Corpus, Use

_S2, _S3, _S12 = ("stage2",), ("stage3",), ("stage1", "stage2")
LLAVA = Dialogue(image="image")
_RELATIVE = BoxLayout(shape="xyxy", unit="share")


def _scene_text(
    form: SceneText, stages: tuple[str, ...] = _S2, *, samples: int = 0, task: str = "texts in reading order"
) -> Use:
    return Use(stages=stages, category="scene_text", form=form, task=task, samples=samples)


SCENE_TEXT = (
    Corpus(
        name="blip3_ocr", title="BLIP3-OCR-200M", home="Salesforce/blip3-ocr-200m", licence="Apache-2.0", size=200_000_000, certain=False,
        layout="*.parquet (uid, url, key, captions, metadata JSON {entities: [{text, bbox}]}); pictures in images/UID.jpg",
        annotations="*.parquet", records=ParquetRecords(), media=("images/",),
        uses=(
            _scene_text(
                SceneText(image="uid", file="{}.jpg", id="uid", url="url", caption="captions.0.text", words=Words(items="metadata.entities", layout=_RELATIVE)),
                _S12, task="brief recaption, then texts left to right, top to bottom",
            ),
        ),
    ),
    Corpus(
        name="laion_ocr", title="Laion-OCR (in-house)", home="not published; made from LAION by OCR", licence="", size=3_000_000, published=False,
        layout="*.jsonl {image, caption, width, height, words: [{text, bbox [x1, y1, x2, y2]}]}, images/",
        annotations="*.jsonl", records=JsonRecords(), media=("images/",),
        uses=(
            _scene_text(
                SceneText(image="image", id="image", caption="caption", boxes=True, words=Words(items="words", layout=BoxLayout(shape="xyxy"))),
                samples=3_000_000, task="caption, then each text with its box",
            ),
            Use(
                stages=_S3, category="ocr", records=NextRecords(inner=JsonRecords()), task="five OCR tasks",
                form=OcrTasks(image="image", id="image", words=Words(items="words", layout=BoxLayout(shape="xyxy"))),
            ),
        ),
    ),
    Corpus(
        name="coco_text", title="COCO-Text", home="https://bgshih.github.io/cocotext", licence="CC-BY-4.0", size=43_686,
        layout="cocotext.v2.json {imgs, anns, imgToAnns}; pictures are COCO 2014's: train2014/COCO_train2014_000000000036.jpg",
        annotations="cocotext.v2.json", records=CocoRecords(maps=True), media=("train2014/",),
        uses=(_scene_text(SceneText(image="file_name", boxes=True, words=Words(text="utf8_string", flag="!legibility"))),),
    ),
    Corpus(
        name="textocr", title="TextOCR", home="https://textvqa.org/textocr", licence="CC-BY-4.0", size=21_778,
        layout="TextOCR_0.1_train.json {imgs, anns}; train_images/ of OpenImages (file_name train/ID.jpg)",
        annotations="TextOCR_*_train.json", records=CocoRecords(maps=True), media=("./",),
        uses=(_scene_text(SceneText(image="file_name", boxes=True, words=Words(text="utf8_string", ignore=("", ".", "###")))),),
    ),
    Corpus(
        name="lsvt", title="LSVT", home="https://rrc.cvc.uab.es/?ch=16", licence="research", size=30_000,
        layout="train_full_labels.json {gt_0: [{transcription, points, illegibility}]}, train_full_images/gt_0.jpg",
        annotations="train_full_labels.json", records=JsonRecords(at="*"), media=("train_full_images/",),
        uses=(
            _scene_text(
                SceneText(image="key", file="{}.jpg", id="key", words=Words(items="value", text="transcription", box="points", flag="illegibility", layout=BoxLayout(shape="points")))
            ),
        ),
    ),
    Corpus(
        name="rects", title="ReCTS", home="https://rrc.cvc.uab.es/?ch=12", licence="research", size=20_000,
        layout="gt/train_ReCTS_000001.json {chars, lines: [{points, transcription, ignore}]}, img/train_ReCTS_000001.jpg",
        annotations="gt/*.json", records=FileRecords(), media=("img/",),
        uses=(
            _scene_text(
                SceneText(image="stem", file="{}.jpg", id="stem", words=Words(items="lines", text="transcription", box="points", flag="ignore", layout=BoxLayout(shape="points")))
            ),
        ),
    ),
    Corpus(
        name="multiui", title="MultiUI", home="neulab/MultiUI", licence="", size=7_300_000, certain=False,
        layout="*.json (LLaVA list), images/", annotations="*.json", records=JsonRecords(), media=("images/",),
        uses=(Use(stages=_S3, category="ocr", form=LLAVA, task="as is"),),
    ),
)  # fmt: skip


def _document(
    form: DocumentText | PageLines | PdfPages | Questions | Dialogue,
    stages: tuple[str, ...] = _S2,
    *,
    task: str = "page text in reading order",
) -> Use:
    return Use(stages=stages, category="document", form=form, task=task)


_SYNTHDOG = DocumentText(text="ground_truth.gt_parse.text_sequence")

DOCUMENTS = (
    Corpus(
        name="pdfa_eng_wds", title="pdfa-eng-wds", home="pixparse/pdfa-eng-wds", licence="other", size=2_159_432,
        layout="pdfa-eng-train-0000.tar with KEY.pdf and KEY.json {pages: [{lines: {text, bbox}, words, images_bbox}]}",
        annotations="*.tar", records=TarRecords(), uses=(_document(PdfPages(), _S12),),
    ),
    Corpus(
        name="idl_wds", title="idl-wds", home="pixparse/idl-wds", licence="other", size=3_681_566,
        layout="idl-train-00000.tar with KEY.pdf, KEY.tif, KEY.ocr and KEY.json {pages: [{text, bbox, poly, score}]}",
        annotations="*.tar", records=TarRecords(), uses=(_document(PdfPages(lines="lines.text|text"), _S12),), certain=False,
    ),
    Corpus(
        name="synthdog_en", title="SynthDoG-EN", home="naver-clova-ix/synthdog-en", licence="MIT", size=65_536,
        layout="data/train-*.parquet (image {bytes, path}, ground_truth JSON {gt_parse: {text_sequence}})",
        annotations="data/*.parquet", records=ParquetRecords(), uses=(_document(_SYNTHDOG),),
    ),
    Corpus(
        name="synthdog_zh", title="SynthDoG-ZH", home="naver-clova-ix/synthdog-zh", licence="MIT", size=65_536,
        layout="data/train-*.parquet (image {bytes, path}, ground_truth JSON {gt_parse: {text_sequence}})",
        annotations="data/*.parquet", records=ParquetRecords(), uses=(_document(_SYNTHDOG),),
    ),
    Corpus(
        name="ureader_tr", title="UReader-TR", home="Mizukiluke/ureader-instruction-1.0", licence="Apache-2.0", size=100_000, certain=False,
        layout="ureader_json/train.jsonl {image: [path], text: 'Human: ... AI: ...', task_name}, images/",
        annotations="ureader_json/*.jsonl", records=JsonRecords(), media=("images/", "./"), uses=(_document(DocumentText(after="AI:")),),
    ),
    Corpus(
        name="funsd", title="FUNSD", home="https://guillaumejaume.github.io/FUNSD", licence="research, non-commercial", size=149,
        layout="training_data/annotations/0000971160.json {form: [{text, box, words, label}]}, training_data/images/0000971160.png",
        annotations="training_data/annotations/*.json", records=FileRecords(), media=("training_data/images/",),
        uses=(_document(PageLines(image="stem", file="{}.png", id="stem", words=Words(items="form", box="box", layout=BoxLayout(shape="xyxy")))),),
    ),
    Corpus(
        name="dude", title="DUDE", home="https://rrc.cvc.uab.es/?ch=23", licence="CC-BY-4.0", size=23_728,
        layout="2023-03-23_DUDE_gt_*.json {data: [{questionId, docId, question, answers, answers_page_bounding_boxes}]}, images/train/DOCID_0.jpg",
        annotations="*DUDE_gt*.json", records=JsonRecords(at="data"), media=("images/train/",),
        uses=(
            _document(
                Questions(image="docId", file="{}_{r[answers_page_bounding_boxes][0][0][page]}.jpg", answer="answers", id="questionId", hint=SHORT),
                task="questions on the page that holds the answer",
            ),
        ),
    ),
    Corpus(
        name="vary_600k", title="Vary-600k", home="https://github.com/Ucas-HaoranWei/Vary-tiny-600k", licence="research, non-commercial", size=600_000, certain=False,
        layout="pdf_en_*.json, pdf_cn_*.json (LLaVA list {image, conversations}), images/",
        annotations="*.json", records=JsonRecords(), media=("images/",), uses=(_document(LLAVA, task="as is: page to text"),),
    ),
    Corpus(
        name="docvqa", title="DocVQA", home="https://www.docvqa.org", licence="research", size=39_463,
        layout="train_v1.0_withQT.json {data: [{questionId, question, image: 'documents/xnbl0037_1.png', answers}]}, documents/",
        annotations="train_v1.0*.json", records=JsonRecords(at="data"), media=("./",),
        uses=(_document(Questions(image="image", answer="answers", id="questionId", hint=SHORT), _S3, task="short answers"),),
    ),
    Corpus(
        name="docmatix", title="Docmatix", home="HuggingFaceM4/Docmatix", licence="MIT", size=1_273_215,
        layout="data/train-*.parquet (images [{bytes, path}], texts [{user, assistant, source}])",
        annotations="data/*.parquet", records=ParquetRecords(),
        uses=(_document(Dialogue(image="images", messages="texts", exchange=("user", "assistant"), id=""), _S3, task="as is: all pages first"),),
    ),
)  # fmt: skip


def _chart(form: Questions | Dialogue | Captioned, task: str = "short answers", stages: tuple[str, ...] = _S3) -> Use:
    return Use(stages=stages, category="chart", form=form, task=task)


CHARTS = (
    Corpus(
        name="chart_to_text", title="Chart-to-Text", home="https://github.com/vis-nlp/Chart-to-text", licence="GPL-3.0", size=44_096,
        layout="statista_dataset/dataset/captions/1.txt, statista_dataset/dataset/imgs/1.png (also multiColumn/)",
        annotations="statista_dataset/dataset/captions/*.txt", records=FileRecords(suffix=".txt"), media=("statista_dataset/dataset/imgs/",),
        uses=(_chart(Captioned(image="stem", file="{}.png", text="text", id="stem"), "summary as caption", _S2),),
    ),
    Corpus(
        name="chartqa", title="ChartQA", home="https://github.com/vis-nlp/ChartQA", licence="GPL-3.0", size=28_299,
        layout="train/train_human.json, train/train_augmented.json [{imgname, query, label}], train/png/",
        annotations="train/train_*.json", records=JsonRecords(), media=("train/png/",),
        uses=(_chart(Questions(image="imgname", question="query", answer="label", id="imgname", hint=SHORT)),),
    ),
    Corpus(
        name="mmc_instruction", title="MMC_Instruction", home="https://github.com/FuxiaoLiu/MMC", licence="CC-BY-NC-SA-4.0", size=410_000, certain=False,
        layout="*.jsonl {image_id, instruction, output}, images/",
        annotations="*.jsonl", records=JsonRecords(), media=("images/",),
        uses=(_chart(Questions(image="image_id", question="instruction", answer="output", id="image_id"), "as is"),),
    ),
    Corpus(
        name="dvqa", title="DVQA", home="https://kushalkafle.com/projects/dvqa.html", licence="CC-BY-NC-4.0", size=2_325_316,
        layout="train_qa.json [{image, question, answer, question_id, answer_bbox}], images/bar_train_00000001.png",
        annotations="train_qa.json", records=JsonRecords(), media=("images/",), uses=(_chart(Questions(image="image", id="question_id", hint=SHORT)),),
    ),
    Corpus(
        name="lrv_instruction", title="LRV-Instruction", home="https://github.com/FuxiaoLiu/LRV-Instruction", licence="BSD-3-Clause", size=400_000,
        layout="filter_cap.json [{image_id, question, answer, task}], images/ (Visual Genome: 2376553.jpg)",
        annotations="*.json", records=JsonRecords(), media=("images/",),
        uses=(_chart(Questions(image="image_id", file="{}.jpg", id="image_id"), "as is"),),
    ),
    Corpus(
        name="chartgemma", title="ChartGemma", home="ahmed-masry/ChartGemma", licence="MIT", size=122_857, certain=False,
        layout="data/train-*.parquet (image {bytes, path}, conversations [{instruction, response}] as instruction, response)",
        annotations="data/*.parquet", records=ParquetRecords(),
        uses=(_chart(Questions(image="image", question="instruction|input", answer="response|output"), "as is"),),
    ),
    Corpus(
        name="infovqa", title="InfoVQA", home="https://www.docvqa.org/datasets/infographicvqa", licence="research", size=23_946,
        layout="infographicsVQA_train_v1.0.json {data: [{questionId, question, image_local_name, answers}]}, images/",
        annotations="infographicsVQA_train*.json", records=JsonRecords(at="data"), media=("images/",),
        uses=(_chart(Questions(image="image_local_name", answer="answers", id="questionId", hint=SHORT)),),
    ),
    Corpus(
        name="plotqa", title="PlotQA", home="https://github.com/NiteshMethani/PlotQA", licence="CC-BY-4.0", size=20_249_479,
        layout="qa_pairs_V2.json {qa_pairs: [{image_index, question_string, answer, question_id}]}, png/0.png",
        annotations="qa_pairs*.json", records=JsonRecords(at="qa_pairs"), media=("png/",),
        uses=(_chart(Questions(image="image_index", file="{}.png", question="question_string", id="question_id", hint=SHORT)),),
    ),
)  # fmt: skip
