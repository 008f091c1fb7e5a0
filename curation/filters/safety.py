"""Safety filters: pictures nobody should train on, stamped ones, and ones of people, by heads on an encoder's embedding."""

from dataclasses import dataclass

from curation.filters.aesthetic import HeadScore


@dataclass(frozen=True, kw_only=True)
class Nsfw(HeadScore):
    """Probability that a picture is not safe for work, in [0, 1]. Null without media.

    Give the head that belongs to the encoder, with `output="sigmoid"` and the activation it was trained with, for
    example LAION's `h14_nsfw.pth` on ViT-H-14 (relu).

    Source: LAION-5B, arXiv:2210.08402 (its detector on CLIP embeddings); COYO-700M, which VideoLLaMA3 starts from, keeps
    scores <= 0.5 of another detector.
    """

    high: float | None = 0.5


@dataclass(frozen=True, kw_only=True)
class Watermark(HeadScore):
    """Probability that a picture is watermarked, in [0, 1]. Null without media.

    Any linear or MLP head with `output="sigmoid"`.

    Source: LAION-5B, arXiv:2210.08402, cuts its watermark probability at 0.8; the detector there is another one.
    """

    high: float | None = 0.8


@dataclass(frozen=True, kw_only=True)
class Faces(HeadScore):
    """Probability that a picture shows a face, in [0, 1]. Null without media.

    Any linear or MLP head with `output="sigmoid"`, trained on pictures with and without faces. An embedding knows whether
    there is a face and not where, so that nothing can be blurred by it.

    Source: DataComp, arXiv:2304.14108, finds faces to blur them, by a detector of its own (SCRFD). No default bound: people
    belong into most corpora, and whether they may is for its owner to say.
    """
