"""Videos of stages 3 and 4: captions and questions, streaming, temporal grounding."""

from curation.filters import Motion
from curation.forms import (
    DenseCaption,
    Dialogue,
    EventOrder,
    Grounding,
    Questions,
    RegionDialogue,
    Streaming,
)
from curation.forms.moments import Events
from curation.sources.record_files import JsonRecords, LineRecords, TableRecords
from curation.sources.record_tables import ParquetRecords
from curation.sources.records import Form
from pipelines.recipes.corpus import Corpus, Use

_S4, _S34 = ("stage4",), ("stage3", "stage4")
LLAVA = Dialogue(video="video")
VIDEOS_BESIDE = ("videos/",)


def _video(form: Form, task: str = "as is", stages: tuple[str, ...] = _S34) -> tuple[Use, ...]:
    return (Use(stages=stages, category="video", form=form, task=task),)


GENERAL = (
    Corpus(
        name="llava_video_178k", title="LLaVA-Video-178K", home="lmms-lab/LLaVA-Video-178K", licence="Apache-2.0", size=1_335_000,
        layout="SUBSET/*.json (LLaVA list {video, conversations; the tag is written <image>}), videos/",
        annotations="*/*.json", records=JsonRecords(), media=VIDEOS_BESIDE, uses=_video(Dialogue(video="video", tag="<image>")),
    ),
    Corpus(
        name="sharegpt4o_video", title="ShareGPT4o-Video", home="OpenGVLab/ShareGPT-4o", licence="MIT", size=2_111,
        layout="video_conversations/gpt4o.jsonl (LLaVA), videos/",
        annotations="video_conversations/*.jsonl", records=JsonRecords(), media=VIDEOS_BESIDE, uses=_video(LLAVA),
    ),
    Corpus(
        name="finevideo", title="FineVideo", home="HuggingFaceFV/finevideo", licence="CC-BY (per video)", size=43_751,
        layout="data/train-*.parquet (mp4 bytes, json {content_metadata: {description, qAndA: [{question, answer}]}, original_video_filename})",
        annotations="data/*.parquet", records=ParquetRecords(), certain=False,
        uses=_video(Questions(video="mp4", items="json.content_metadata.qAndA", id="json.original_video_filename"), "its questions"),
    ),
    Corpus(
        name="cinepile", title="CinePile", home="tomg-group-umd/cinepile", licence="CC-BY-NC-SA-4.0", size=298_888,
        layout="v2/train-*.parquet (videoID, question, choices, answer_key, answer_key_position), videos/VIDEOID.mp4",
        annotations="v2/train*.parquet", records=ParquetRecords(), media=VIDEOS_BESIDE,
        uses=_video(Questions(video="videoID", file="{}.mp4", id="videoID", answer="answer_key_position", choices="choices"), "multiple choice"),
    ),
    Corpus(
        name="sharegemini_k400", title="ShareGemini-k400", home="Share14/ShareGemini", licence="Apache-2.0", size=223_000, certain=False,
        layout="sharegemini_k400.json (LLaVA list), videos/", annotations="*.json", records=JsonRecords(), media=VIDEOS_BESIDE, uses=_video(LLAVA),
    ),
    Corpus(
        name="sharegemini_webvid", title="ShareGemini-WebVID", home="Share14/ShareGemini", licence="Apache-2.0", size=307_000, certain=False,
        layout="sharegemini_webvid_core100k.json (LLaVA list), videos/", annotations="*.json", records=JsonRecords(), media=VIDEOS_BESIDE,
        uses=_video(LLAVA),
    ),
    Corpus(
        name="vcg_human", title="VCG-Human", home="MBZUAI/VideoInstruct-100K", licence="CC-BY-SA-4.0", size=25_803, certain=False,
        layout="VideoInstruct_human.json [{q, a, video_id}], videos/v_ID.mp4", annotations="*.json", records=JsonRecords(), media=VIDEOS_BESIDE,
        uses=_video(Questions(video="video_id", file="{}.mp4", question="q", answer="a", id="video_id")),
    ),
    Corpus(
        name="vcg_plus_112k", title="VCG-Plus", home="MBZUAI/VCG-plus_112K", licence="CC-BY-SA-4.0", size=112_716,
        layout="vcg-plus_112K.json [{q, a, video_id}] (VideoInstruct), videos/ID.mp4", annotations="*.json", records=JsonRecords(), media=VIDEOS_BESIDE,
        certain=False, uses=_video(Questions(video="video_id", file="{}.mp4", question="q", answer="a", id="video_id")),
    ),
    Corpus(
        name="videollama2_own", title="VideoLLaMA2 in-house", home="not published", licence="", size=500_000, published=False,
        layout="*.json or *.jsonl (VideoLLaMA2: video, conversations), videos/", annotations="*.json*", records=JsonRecords(), media=VIDEOS_BESIDE,
        uses=_video(LLAVA),
    ),
    Corpus(
        name="temporal_grounding_own", title="Temporal grounding in-house", home="not published", licence="", size=50_000, published=False,
        layout="*.jsonl {video, duration, timestamps, sentences}, videos/", annotations="*.jsonl", records=JsonRecords(), media=VIDEOS_BESIDE,
        uses=_video(Grounding(video="video", id="video", events=Events(layout="parallel", span="timestamps", text="sentences", duration="duration")), "when does it happen", ("stage3",)),
    ),
    Corpus(
        name="videorefer_700k", title="VideoRefer", home="DAMO-NLP-SG/VideoRefer-700K", licence="Apache-2.0", size=703_000, certain=False,
        layout="VideoRefer-700K-*.json [{video, width, height, conversations with <region>, annotation: [{bbox}]}], videos/; bounds of the masks as bbox",
        annotations="*.json", records=JsonRecords(), media=VIDEOS_BESIDE,
        uses=_video(RegionDialogue(image="", video="video"), "dialogue on regions, their boxes in the marked frame", _S4),
    ),
    Corpus(
        name="panda70m_motion", title="Panda-70M high motion (in-house synthetic)", home="https://snap-research.github.io/Panda-70M", licence="research", size=68_000,
        layout="*.jsonl {video, duration, events: [{start, end, text}]} (dense captions by a captioner), videos/; raw clips: panda70m.csv",
        annotations="*.jsonl", records=JsonRecords(), media=VIDEOS_BESIDE, published=False,
        uses=(
            Use(
                stages=_S4, category="video", task="clips that move much, by optical flow; questions on time and order from dense captions",
                form=EventOrder(video="video", id="video", events=Events(items="events", text="text", duration="duration")),
                # The paper picks 68 K clips by optical flow and discloses no cut: ours is a twentieth of the width in a second.
                filters=(Motion(low=0.05),),
            ),
        ),
    ),
)  # fmt: skip

_ACTIVITYNET = Events(layout="parallel", span="timestamps", text="sentences", duration="duration")
_YOUCOOK2 = Events(span="segment", duration="duration")
_LIVECHAT = Streaming(video="video_uid", file="{}.mp4", id="video_uid", messages="conversation")
_NARRATION = Streaming(
    video="video_uid",
    file="{}.mp4",
    id="video_uid",
    at="start",
    events=Events(layout="points", items="narrations", start="time", text="text"),
)


def _streaming(form: Streaming, task: str = "comments at their times, clips of at most 2 minutes") -> Use:
    return Use(stages=_S4, category="streaming", form=form, task=task, suffix="stream")


def _grounded(form: Form, task: str = "when does it happen, as text") -> Use:
    return Use(stages=_S4, category="temporal_grounding", form=form, task=task)


MOMENTS = (
    Corpus(
        name="activitynet", title="ActivityNet Captions", home="https://cs.stanford.edu/people/ranjaykrishna/densevid", licence="research", size=10_009,
        layout="train.json {v_ID: {duration, timestamps, sentences}}, videos/v_ID.mp4",
        annotations="train.json", records=JsonRecords(at="*"), media=VIDEOS_BESIDE,
        uses=(
            _grounded(Grounding(video="key", file="{}.mp4", id="key", events=_ACTIVITYNET)),
            _streaming(Streaming(video="key", file="{}.mp4", id="key", events=_ACTIVITYNET)),
        ),
    ),
    Corpus(
        name="youcook2", title="YouCook2", home="http://youcook2.eecs.umich.edu", licence="research", size=1_333,
        layout="youcookii_annotations_trainval.json {database: {ID: {duration, subset, annotations: [{segment, sentence}]}}}, videos/ID.mp4",
        annotations="youcookii_annotations*.json", records=JsonRecords(at="database.*"), media=VIDEOS_BESIDE,
        uses=(
            _grounded(DenseCaption(video="key", file="{}.mp4", id="key", events=_YOUCOOK2), "dense captions with times"),
            _streaming(Streaming(video="key", file="{}.mp4", id="key", events=_YOUCOOK2)),
        ),
    ),
    Corpus(
        name="ego4d_narration", title="Ego4D-narration", home="https://ego4d-data.org", licence="Ego4D licence", size=113_000, certain=False,
        layout="*.jsonl {video_uid, narrations: [{time, text}]} (narration_stream of VideoLLM-online, a line per clip), videos/UID.mp4",
        annotations="*.jsonl", records=JsonRecords(), media=VIDEOS_BESIDE, uses=(_streaming(_NARRATION),),
    ),
    Corpus(
        name="ego4d_livechat", title="Ego4D-livechat", home="chenjoya/videollm-online-chat-ego4d-134k", licence="MIT", size=21_000, certain=False,
        layout="*.json [{video_uid, conversation: [{role, content, time}]}], videos/UID.mp4",
        annotations="*.json", records=JsonRecords(), media=VIDEOS_BESIDE, uses=(_streaming(_LIVECHAT, "dialogue beside the video, as is"),),
    ),
    Corpus(
        name="vitt", title="ViTT", home="https://github.com/google-research-datasets/Video-Timeline-Tags-ViTT", licence="Apache-2.0", size=5_086, certain=False,
        layout="ViTT-annotations.json [{id, annotations: [{timestamp (ms), tag}]}], videos/ID.mp4",
        annotations="ViTT-annotations.json", records=JsonRecords(), media=VIDEOS_BESIDE,
        uses=(_grounded(DenseCaption(video="id", file="{}.mp4", events=Events(layout="points", start="timestamp", text="tag", scale=0.001)), "dense captions with times"),),
    ),
    Corpus(
        name="queryd", title="QuerYD", home="https://www.robots.ox.ac.uk/~vgg/data/queryd", licence="research", size=14_602, certain=False,
        layout="*.json [{video, start, end, sentence}] (its pickles, written as JSON: pickles are not read), videos/",
        annotations="*.json", records=JsonRecords(), media=VIDEOS_BESIDE, uses=(_grounded(Grounding(video="video", id="video", events=Events(layout="one"))),),
    ),
    Corpus(
        name="hirest", title="HiREST", home="https://github.com/j-min/HiREST", licence="MIT", size=3_400, certain=False,
        layout="*.jsonl {prompt, video, v_duration, steps: [{heading, absolute_bounds}]} (all_data_train.json, a line per video), videos/",
        annotations="*.jsonl", records=JsonRecords(), media=VIDEOS_BESIDE,
        uses=(_grounded(DenseCaption(video="video", id="video", events=Events(items="steps", span="absolute_bounds", text="heading", duration="v_duration")), "dense captions with times"),),
    ),
    Corpus(
        name="charades_sta", title="Charades-STA", home="https://github.com/jiyanggao/TALL", licence="research, non-commercial", size=12_408,
        layout="charades_sta_train.txt (ID START END##sentence), videos/ID.mp4 (Charades_v1_480)",
        annotations="charades_sta_train.txt", records=LineRecords(), media=VIDEOS_BESIDE,
        uses=(_grounded(Grounding(video="line", file="{}.mp4", id="", events=Events(layout="charades"))),),
    ),
    Corpus(
        name="moment_10m", title="Moment-10M", home="https://github.com/DCDmllm/Momentor", licence="", size=10_400_000, certain=False,
        layout="*.csv with video, start, end, caption, videos/", annotations="*.csv", records=TableRecords(), media=VIDEOS_BESIDE,
        uses=(_grounded(Grounding(video="video", id="video", events=Events(layout="one", text="caption"))),),
    ),
    Corpus(
        name="coin", title="COIN", home="https://coin-dataset.github.io", licence="research", size=9_030,
        layout="COIN.json {database: {ID: {class, duration, annotation: [{id, segment, label}]}}}, videos/ID.mp4",
        annotations="COIN.json", records=JsonRecords(at="database.*"), media=VIDEOS_BESIDE,
        uses=(_grounded(DenseCaption(video="key", file="{}.mp4", id="key", events=Events(items="annotation", span="segment", text="label", duration="duration")), "dense captions with times"),),
    ),
)  # fmt: skip
