"""Selects: decisions over all samples of a branch, from columns only."""

from curation.select.balance import Balance, ClusterBalance
from curation.select.decontaminate import Decontaminate, NearText, SharedWords
from curation.select.exact import ExactDedup
from curation.select.minhash import MinHashDedup
from curation.select.perceptual import PerceptualDedup
from curation.select.semantic import SemanticDedup

__all__ = [
    "Balance",
    "ClusterBalance",
    "Decontaminate",
    "ExactDedup",
    "MinHashDedup",
    "NearText",
    "PerceptualDedup",
    "SemanticDedup",
    "SharedWords",
]
