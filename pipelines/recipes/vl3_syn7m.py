"""VL3-Syn7M: seven million recaptioned web pictures, as VideoLLaMA3 made them from COYO-700M, in its five steps.

DATA/coyo/*.tar are the shards that img2dataset writes of COYO: KEY.jpg, KEY.txt (alt text), KEY.json (url, width, height ...).

    1 shape        AspectRatio                                          drops strips and banners
    2 looks        Aesthetic                                            drops what nobody would look at
    3 words        a coarse caption, then its similarity to the picture drops what a model cannot name
    4 balance      clusters of picture features, a quota each           drops what the web shows too often
    5 recaption    a short caption for stage 1, a detailed one for stage 2

Models, cuts, clusters, quota and prompts are not disclosed except where `Models` and `Cuts` say so: each is a default here with the
reason for it, to be looked at on one's own data (the report draws every score, and other bounds measure nothing again).

Source: VideoLLaMA3, arXiv:2501.13106 2.3.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from curation.filters import Aesthetic, AspectRatio, Decodable, ImageTextSimilarity, ShortSide
from curation.forms import Captioned
from curation.neural import (
    BRIEF,
    DETAILED,
    CaptionerSpec,
    EncoderSpec,
    Endpoint,
    HeadSpec,
    MediaEmbedding,
    Prompt,
    TransformersModel,
)
from curation.select import ExactDedup
from curation.select.balance import ClusterBalance
from curation.sources.record_tables import TarRecords
from curation.sources.records import RecordSource
from curation.transforms import NormalizeTurns, Recaption
from pipelines.recipe import Recipe, branch, gpu, on

COARSE = Prompt(name="coarse", text="a photo of", max_tokens=32)


@dataclass(frozen=True, kw_only=True)
class CoarseCaption(Recaption):
    """Step 3's caption: what the picture is by a small model, only to be held against the picture. Step 5 writes it anew."""

    prompt: Prompt = COARSE


def _clip() -> EncoderSpec:
    return EncoderSpec(model="ViT-L-14", pretrained="openai", precision="bfloat16", batch=64)


@dataclass(frozen=True, kw_only=True)
class Models:
    """The five models.

    encoder: "CLIP", its size not disclosed; ViT-L/14 is what LAION's aesthetic heads were trained on, so that one embedding serves
    steps 2, 3 and 4. aesthetic: "an aesthetic scoring model", not disclosed; LAION's improved predictor is the most used.
    coarse: BLIP-2, its size not disclosed; the smallest published one, as its caption is thrown away.
    short, detailed: InternVL2-8B and InternVL2-26B, as disclosed, behind two servers that speak OpenAI's protocol.
    """

    aesthetic: HeadSpec
    encoder: EncoderSpec = field(default_factory=_clip)
    coarse: CaptionerSpec = TransformersModel(model="Salesforce/blip2-opt-2.7b", precision="bfloat16", batch=32)
    short: CaptionerSpec = Endpoint(url="http://localhost:8000/v1", model="OpenGVLab/InternVL2-8B")
    detailed: CaptionerSpec = Endpoint(url="http://localhost:8001/v1", model="OpenGVLab/InternVL2-26B")


@dataclass(frozen=True, kw_only=True)
class Cuts:
    """The thresholds; none is disclosed.

    ratio: longest side over shortest. COYO keeps to 3.0 already, which is also DataComp's; below it strips of text remain useful.
    side: pixels; COYO's own 200. aesthetic: LAION's widest published cut; 4.5 keeps about half of LAION-2B's pictures.
    similarity: LAION-400M cut alt texts at 0.28 to 0.3 on ViT-B/32; a model's caption of a picture it can name lies above 0.22 on
    ViT-L/14, whose cosines are lower: a loose cut, since step 5 repairs captions and cannot repair pictures.
    clusters, quota: 20,000 x 350 is the seven million that the authors kept; a cluster of their size is about one noun phrase.
    """

    ratio: float = 3.0
    side: int = 200
    aesthetic: float = 4.5
    similarity: float = 0.22
    clusters: int = 20_000
    quota: int = 350


def vl3_syn7m(
    data: str,
    *,
    detailed: bool = False,
    models: Models | None = None,
    cuts: Cuts = Cuts(),
    placement: Mapping[str, float] | None = None,
) -> Recipe:
    """The dataset with short captions, for stage 1, or detailed ones, for stage 2.

    Both run over the same OUT share everything up to step 5: run one, then the other with another OUT and OUT/work copied.

    Args:
        models: by default the published ones; the aesthetic head is DATA/models/sac+logos+ava1-l14-linearMSE.pth.
        placement: GPUs per worker of "scores" and "coarse" (0.25 and 1 by default); captioners behind servers need none.
    """
    models = models or Models(aesthetic=HeadSpec(path=str(Path(data) / "models/sac+logos+ava1-l14-linearMSE.pth")))
    gpus = {"scores": 0.25, "coarse": 1.0, **(placement or {})}
    captioner, prompt = (models.detailed, DETAILED) if detailed else (models.short, BRIEF)
    pictures = branch(
        "vl3_syn7m",
        RecordSource(
            f"{data}/coyo/*.tar",
            records=TarRecords(),
            # Whatever the alt text: it is replaced, and stays beside the new caption as what was said before.
            form=Captioned(image="jpg|jpeg|png|webp", text="txt|caption", missing="empty", id="key", url="url"),
            title="coyo",
        ),
        AspectRatio(high=cuts.ratio),
        ShortSide(low=cuts.side),
        Decodable(),
        on(gpu(gpus["scores"]), Aesthetic(head=models.aesthetic, encoder=models.encoder, low=cuts.aesthetic)),
        on(gpu(gpus["coarse"]), CoarseCaption(captioner=models.coarse)),
        on(gpu(gpus["scores"]), ImageTextSimilarity(encoder=models.encoder, low=cuts.similarity)),
        # The web's copies would fill a cluster's quota; the paper does not speak of them.
        ExactDedup(by="bytes"),
        ClusterBalance(
            embed=MediaEmbedding(encoder=models.encoder),
            clusters=cuts.clusters,
            quota=cuts.quota,
            best="ImageTextSimilarity",
        ),
        Recaption(captioner=captioner, prompt=prompt),
        NormalizeTurns(),
    )
    return Recipe(stage="stage2" if detailed else "stage1", branches=(pictures,))


def vl3_syn7m_short(data: str) -> Recipe:
    """VL3-Syn7M with short captions."""
    return vl3_syn7m(data)


def vl3_syn7m_detailed(data: str) -> Recipe:
    """VL3-Syn7M with detailed captions."""
    return vl3_syn7m(data, detailed=True)
