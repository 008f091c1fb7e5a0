"""Scene images and image instructions of stages 1 to 4."""

from curation.forms import Captioned, Dialogue, ListedObjects, Points, Questions, RegionCaptions
from curation.sources.coco import CocoRecords
from curation.sources.record_files import JsonRecords
from curation.sources.record_tables import ParquetRecords, TarRecords
from pipelines.recipes.corpus import Corpus, Use

_S1, _S2, _S3, _S12 = ("stage1",), ("stage2",), ("stage3",), ("stage1", "stage2")
LLAVA = Dialogue(image="image")
# A member of a tar that is a picture, by any of its suffixes.
PICTURE = "jpg|jpeg|png|webp"


def _recaption(form: Captioned | ListedObjects, stages: tuple[str, ...] = _S12) -> Use:
    return Use(
        stages=stages,
        category="scene_image",
        form=form,
        recaption="plain",
        task="recaption: short in stage 1, detailed in stage 2",
    )


SCENES = (
    Corpus(
        name="vl3_syn7m", title="VL3-Syn7M", home="DAMO-NLP-SG/VL3-Syn7M", licence="Apache-2.0", size=7_000_000, certain=False,
        layout="*.json lists {image, short_caption, detailed_caption}; *.tar of img2dataset over COYO-700M, or images/",
        annotations="*.json", records=JsonRecords(), media=("images/",),
        uses=(
            Use(stages=_S1, category="scene_image", form=Captioned(text="short_caption"), task="short recaption", samples=7_000_000),
            Use(stages=_S2, category="scene_image", form=Captioned(text="detailed_caption"), task="detailed recaption", samples=7_000_000),
        ),
    ),
    Corpus(
        name="llava_pretrain", title="LLaVA-Pretrain-558K", home="liuhaotian/LLaVA-Pretrain", licence="other (LAION, CC, SBU)", size=558_128,
        layout="blip_laion_cc_sbu_558k.json (LLaVA list), images/00453/004539375.jpg",
        annotations="blip_laion_cc_sbu_558k.json", records=JsonRecords(), media=("images/",),
        uses=(Use(stages=_S1, category="scene_image", form=LLAVA, task="as is", samples=558_128),),
    ),
    Corpus(
        name="objects365", title="Objects365", home="https://www.objects365.org", licence="CC-BY-4.0 (annotations)", size=1_742_289,
        layout="zhiyuan_objv2_train.json (COCO), train/patch0/objects365_v1_00000000.jpg",
        annotations="zhiyuan_objv2_train.json", records=CocoRecords(), media=("train/",),
        uses=(
            Use(stages=_S12, category="scene_image", form=ListedObjects(), recaption="guided", task="recaption with its objects: short in stage 1, detailed in stage 2"),
            Use(stages=_S2, category="fine_grained", form=RegionCaptions(), task="names of its boxes", suffix="regions"),
        ),
    ),
    Corpus(
        name="sa1b", title="SA-1B", home="https://ai.meta.com/datasets/segment-anything", licence="SA-1B research", size=11_185_362,
        layout="sa_000000.tar ... with sa_1.jpg and sa_1.json (masks); captions come from the captioner or from sa_1.txt",
        annotations="*.tar", records=TarRecords(),
        uses=(_recaption(Captioned(image=PICTURE, text="txt", missing="empty", id="key")),),
    ),
    Corpus(
        name="coco2017", title="COCO 2017", home="https://cocodataset.org", licence="CC-BY-4.0 (annotations)", size=118_287,
        layout="annotations/captions_train2017.json (COCO), train2017/000000000009.jpg",
        annotations="annotations/captions_train2017.json", records=CocoRecords(), media=("train2017/",),
        uses=(
            Use(stages=_S2, category="scene_image", form=Captioned(image="file_name", text="annotations.0.caption"), recaption="guided", task="detailed recaption with its captions"),
        ),
    ),
    Corpus(
        name="sharegpt4o", title="ShareGPT4o", home="OpenGVLab/ShareGPT-4o", licence="MIT", size=57_289,
        layout="image_conversations/gpt-4o.jsonl (LLaVA), images/",
        annotations="image_conversations/*.jsonl", records=JsonRecords(), media=("images/",),
        uses=(Use(stages=_S2, category="scene_image", form=LLAVA, task="as is"),),
    ),
    Corpus(
        name="textcaps", title="TextCaps", home="https://textvqa.org/textcaps", licence="CC-BY-4.0", size=109_765,
        layout="TextCaps_0.1_train.json {data: [{image_id, caption_str}]}, train_images/0000599864fd15b3.jpg",
        annotations="TextCaps_*_train.json", records=JsonRecords(at="data"), media=("train_images/",),
        uses=(
            Use(stages=_S2, category="scene_image", form=Captioned(image="image_id", file="{}.jpg", text="caption_str|reference_strs", id="image_id"), task="as is"),
        ),
    ),
    Corpus(
        name="sharegpt4v", title="ShareGPT4V", home="Lin-Chen/ShareGPT4V", licence="CC-BY-NC-4.0", size=1_246_901,
        layout="share-captioner_coco_lcs_sam_1246k_1107.json (LLaVA list), images/ (coco, llava, sam below it)",
        annotations="*.json", records=JsonRecords(), media=("images/",),
        uses=(Use(stages=_S2, category="scene_image", form=LLAVA, task="as is"),),
    ),
    Corpus(
        name="densefusion", title="DenseFusion-1M", home="BAAI/DenseFusion-1M", licence="CC-BY-4.0", size=1_057_000, certain=False,
        layout="*.jsonl {image_path, caption}, images/",
        annotations="*.jsonl", records=JsonRecords(), media=("images/",),
        uses=(Use(stages=_S2, category="scene_image", form=Captioned(image="image_path", id="image_id"), task="as is"),),
    ),
    Corpus(
        name="llava_recap_558k", title="LLaVA-ReCap (LCS-558K)", home="lmms-lab/LLaVA-ReCap-558K", licence="CC-BY-NC-4.0", size=558_128,
        layout="data/train-*.parquet (id, image {bytes, path}, conversations)",
        annotations="data/*.parquet", records=ParquetRecords(),
        uses=(Use(stages=_S2, category="scene_image", form=LLAVA, task="as is"),),
    ),
)  # fmt: skip


def _instruction(form: Dialogue | Captioned | Questions | Points, *, replay: bool = False) -> tuple[Use, ...]:
    use = Use(stages=_S3, category="image_general", form=form, task="as is")
    again = Use(stages=("stage4",), category="image_only", form=form, task="as is (replay)")
    return (use, again) if replay else (use,)


_PIXMO = "PixMo: data/train-*.parquet, pictures downloaded to images/ named by the sha256 of their URL"

INSTRUCTIONS = (
    Corpus(
        name="llava_sft_665k", title="LLaVA-SFT-665K", home="liuhaotian/LLaVA-Instruct-150K", licence="CC-BY-4.0", size=665_298,
        layout="llava_v1_5_mix665k.json (LLaVA list, 40K of text only), images/ (coco, gqa, ocr_vqa, textvqa, vg below it)",
        annotations="llava_v1_5_mix665k.json", records=JsonRecords(), media=("images/",), uses=_instruction(LLAVA, replay=True),
    ),
    Corpus(
        name="llava_ov_si", title="LLaVA-OV-SI", home="lmms-lab/LLaVA-OneVision-Data", licence="Apache-2.0", size=3_200_000,
        layout="SUBSET/train-*.parquet (id, image {bytes, path} or null, conversations, data_source)",
        annotations="*/*.parquet", records=ParquetRecords(), uses=_instruction(LLAVA, replay=True),
    ),
    Corpus(
        name="cambrian", title="Cambrian (cleaned from 10M)", home="nyu-visionx/Cambrian-10M", licence="Apache-2.0", size=9_784_416,
        layout="jsons/*.jsonl (LLaVA), images/", annotations="jsons/*.jsonl", records=JsonRecords(), media=("images/",),
        uses=_instruction(LLAVA),
    ),
    Corpus(
        name="pixmo_docs", title="PixMo-docs", home="allenai/pixmo-docs", licence="ODC-BY", size=255_000,
        layout="charts|diagrams|other|tables/train-*.parquet (image {bytes, path}, image_id, questions {question: [], answer: []})",
        annotations="*/*.parquet", records=ParquetRecords(), certain=False,
        uses=_instruction(Questions(image="image", question="questions.question.0", answer="questions.answer.0", id="image_id")),
    ),
    Corpus(
        name="pixmo_cap", title="PixMo-cap", home="allenai/pixmo-cap", licence="ODC-BY", size=717_042, layout=f"{_PIXMO}; image_url, caption",
        annotations="data/*.parquet", records=ParquetRecords(), media=("images/",),
        uses=_instruction(Captioned(image="image_url", file="{sha256}", prompt="Describe this image in detail.", id="", url="image_url")),
    ),
    Corpus(
        name="pixmo_points", title="PixMo-points", home="allenai/pixmo-points", licence="ODC-BY", size=2_376_223,
        layout=f"{_PIXMO}; image_url, label, points [{{x, y}}], count", annotations="data/*.parquet", records=ParquetRecords(),
        media=("images/",), uses=_instruction(Points(file="{sha256}", id="", url="image_url")),
    ),
    Corpus(
        name="pixmo_cap_qa", title="PixMo-cap-qa", home="allenai/pixmo-cap-qa", licence="ODC-BY", size=268_000,
        layout=f"{_PIXMO}; image_url, question, answer", annotations="data/*.parquet", records=ParquetRecords(), media=("images/",),
        uses=_instruction(Questions(image="image_url", file="{sha256}", id="", url="image_url")),
    ),
    Corpus(
        name="pixmo_ask_model_anything", title="PixMo-ask-model-anything", home="allenai/pixmo-ask-model-anything", licence="ODC-BY", size=162_000,
        layout=f"{_PIXMO}; image_url, question, answer", annotations="data/*.parquet", records=ParquetRecords(), media=("images/",),
        uses=_instruction(Questions(image="image_url", file="{sha256}", id="", url="image_url")),
    ),
    Corpus(
        name="demon_full", title="DEMON-Full", home="https://github.com/DCDmllm/Cheetah", licence="", size=477_720, certain=False,
        layout="TASK/full.json {metadata, data: [{sample_id, task_instance: {context, images_path}, response}]}, TASK/full/images/",
        annotations="*/full.json", records=JsonRecords(at="data"), media=("images/",),
        uses=(
            Use(
                stages=_S3, category="multi_image", task="as is: all pictures first",
                form=Questions(image="task_instance.images_path", question="task_instance.context", answer="response", id="sample_id"),
            ),
        ),
    ),
    Corpus(
        name="contrastive_caption", title="Contrastive_Caption", home="https://arxiv.org/abs/2410.18798", licence="", size=100_000, certain=False,
        layout="*.json (LLaVA list, several pictures each), images/", annotations="*.json", records=JsonRecords(), media=("images/",),
        uses=(Use(stages=_S3, category="multi_image", form=LLAVA, task="as is"),),
    ),
)  # fmt: skip
