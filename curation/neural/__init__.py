"""Neural: encoders, heads and captioners; the only place that loads torch, and only when one of them is opened."""

from curation.neural.captioner import Caption, Captioner, CaptionerSpec, Request
from curation.neural.embedding import MediaEmbedding, media_embeddings, text_embeddings
from curation.neural.encoder import EncoderSpec
from curation.neural.endpoint import Endpoint
from curation.neural.heads import HeadSpec
from curation.neural.local import OwnModel, TransformersModel
from curation.neural.prompts import BRIEF, CLIP, DETAILED, READING, REGION, Prompt

__all__ = [
    "BRIEF",
    "CLIP",
    "DETAILED",
    "READING",
    "REGION",
    "Caption",
    "Captioner",
    "CaptionerSpec",
    "EncoderSpec",
    "Endpoint",
    "HeadSpec",
    "MediaEmbedding",
    "OwnModel",
    "Prompt",
    "Request",
    "TransformersModel",
    "media_embeddings",
    "text_embeddings",
]
