"""Text-only instructions of stages 2 to 4."""

from curation.forms import Dialogue
from curation.sources.record_files import JsonRecords
from curation.sources.record_tables import ParquetRecords
from curation.sources.records import Records
from pipelines.recipes.corpus import Corpus, Use

_TEXT = Dialogue(image="", id="id|uuid|conversation_id|idx")
_MESSAGES = Dialogue(image="", messages="messages", id="id|uuid")


def _corpus(
    name: str,
    title: str,
    home: str,
    licence: str,
    size: int,
    layout: str,
    *,
    stages: tuple[str, ...],
    form: Dialogue = _TEXT,
    annotations: str = "data/*.parquet",
    records: Records = ParquetRecords(),  # noqa: B008  a frozen value
    samples: int = 0,
    certain: bool = True,
) -> Corpus:
    use = Use(stages=stages, category="text", form=form, task="as is", samples=samples)
    return Corpus(
        name=name, title=title, home=home, licence=licence, size=size, layout=layout,
        annotations=annotations, records=records, uses=(use,), certain=certain,
    )  # fmt: skip


_S2, _S3, _S4, _S34 = ("stage2",), ("stage3",), ("stage4",), ("stage3", "stage4")
_INFINITY = "*.jsonl {id, conversations [{from, value}], label, langdetect, source}: the subset, cut out by its label"
_PAIRS = "data/train-*.parquet (conversations [{from, value}], uuid)"


def _infinity(part: str, stages: tuple[str, ...]) -> Corpus:
    return _corpus(
        f"infinity_{part}", f"Infinity-Instruct {part}", "BAAI/Infinity-Instruct", "CC-BY-SA-4.0", 500_000, _INFINITY,
        stages=stages, annotations="*.jsonl", records=JsonRecords(), certain=False,
    )  # fmt: skip


TEXTS = (
    _corpus(
        "evol_instruct_143k", "Evol-Instruct-143K", "WizardLMTeam/WizardLM_evol_instruct_V2_196k", "MIT", 143_000,
        "WizardLM_evol_instruct_V2_143k.json [{idx, conversations [{from, value}]}]",
        stages=_S2, annotations="*.json", records=JsonRecords(), samples=143_000,
    ),
    _infinity("code", _S2),
    _infinity("commonsense", _S2),
    _infinity("math", _S2),
    _corpus("magpie", "Magpie", "Magpie-Align/Magpie-Air-300K-Filtered", "Llama-3 Community", 300_000, _PAIRS, stages=_S34),
    _corpus("magpie_pro", "Magpie-Pro", "Magpie-Align/Magpie-Pro-300K-Filtered", "Llama-3 Community", 300_000, _PAIRS, stages=_S3),
    _corpus(
        "synthia", "Synthia", "migtissera/Synthia-v1.3", "Apache-2.0", 119_000, "Synthia-v1.3.json or .jsonl [{system, instruction, response}]",
        stages=_S3, annotations="*.json*", records=JsonRecords(),
        form=Dialogue(image="", messages="", exchange=("instruction", "response"), system="system"),
    ),
    _infinity("subjective", _S3),
    _corpus(
        "numinamath", "NuminaMath", "AI-MO/NuminaMath-CoT", "Apache-2.0", 859_494,
        "data/train-*.parquet (source, problem, solution, messages [{content, role}])", stages=_S3, form=_MESSAGES,
    ),
    _corpus(
        "tulu3", "Tulu 3", "allenai/tulu-3-sft-mixture", "ODC-BY", 939_343,
        "data/train-*.parquet (id, messages [{content, role}], source)", stages=_S4, form=_MESSAGES,
    ),
)  # fmt: skip
