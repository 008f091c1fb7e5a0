"""Neural: encoders, heads and captioners; the only place that loads torch, and only when one of them is opened."""

from curation.neural.embedding import MediaEmbedding, media_embeddings, text_embeddings
from curation.neural.encoder import EncoderSpec
from curation.neural.heads import HeadSpec

__all__ = ["EncoderSpec", "HeadSpec", "MediaEmbedding", "media_embeddings", "text_embeddings"]
