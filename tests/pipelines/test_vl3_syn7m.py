"""VL3-Syn7M's five steps over a small COYO, with the shipped encoder and head and a captioner that knows what was drawn."""

import json
import random
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from blake3 import blake3
from mini_corpora import put_tar
from run_checks import build, ledger

from curation.neural import Caption, CaptionerSpec, EncoderSpec, HeadSpec, Request
from curation.sample import SampleError
from curation.shards import ShardReader, open_dataset
from curation.sources.synthetic.scenes import captions, draw_scene, encode_jpeg, make_scene
from pipelines.cli import main
from pipelines.plan import make_plan
from pipelines.recipes.vl3_syn7m import Cuts, Models, vl3_syn7m

SCENES = 24


@dataclass(frozen=True, kw_only=True)
class Knowing(CaptionerSpec):
    """Says what is known of a picture by its bytes; of others that it shows a spoon, which none of them does."""

    known: str

    def identity(self) -> dict[str, Any]:
        return {"known": self.known}

    def load(self) -> "Knowing":
        return self

    def answers(
        self, requests: Sequence[Request], *, beat: Callable[[int], None], counts: Counter[str]
    ) -> Iterator[tuple[int, Caption | SampleError]]:
        known = json.loads(Path(self.known).read_text())
        for number, request in enumerate(requests):
            said = known.get(blake3(request.media[0][2]).hexdigest(), "a silver spoon in a dark drawer")
            yield number, Caption(text=f"{said} ({request.max_tokens} tokens)")


@pytest.fixture(scope="module")
def coyo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Shards as img2dataset writes them: scenes, a copy, a strip, a small one, a broken one, and two the captioner does not know."""
    root = tmp_path_factory.mktemp("syn")
    rng = random.Random(5)
    members: list[tuple[str, bytes]] = []
    known: dict[str, str] = {}

    def add(number: int, data: bytes, alt: str) -> None:
        key = f"{number:09d}"
        facts = {
            "url": f"https://example.org/{key}.jpg",
            "caption": alt,
            "key": key,
            "status": "success",
            "width": 224,
            "height": 224,
        }
        members.extend(
            [(f"{key}.jpg", data), (f"{key}.txt", alt.encode()), (f"{key}.json", json.dumps(facts).encode())]
        )

    for number in range(SCENES):
        scene = make_scene(rng)
        data = encode_jpeg(draw_scene(scene))
        if number >= 2:  # of the first two the captioner says nonsense
            known[blake3(data).hexdigest()] = captions(scene)[0]
        add(number, data, "IMG_2034.JPG" if number % 2 else "")
    add(100, members[3 * 9][1], "a copy")
    add(101, encode_jpeg(draw_scene(make_scene(rng)).crop((0, 0, 112, 16))), "a strip")
    add(102, encode_jpeg(draw_scene(make_scene(rng)).crop((0, 0, 20, 20))), "tiny")
    add(103, members[3 * 8][1][:-400], "cut short")
    put_tar(root / "coyo/00000.tar", members)
    (root / "known.json").write_text(json.dumps(known))
    return root


@pytest.mark.slow
def test_the_five_steps(coyo: Path, tmp_path: Path) -> None:
    captioner = Knowing(known=str(coyo / "known.json"))
    models = Models(
        aesthetic=HeadSpec.shipped("aesthetic"),
        encoder=EncoderSpec.shipped(),
        coarse=captioner,
        short=captioner,
        detailed=captioner,
    )
    cuts = Cuts(side=40, aesthetic=-100.0, similarity=0.75, clusters=4, quota=3)
    for detailed, tokens in ((False, 64), (True, 512)):
        recipe = vl3_syn7m(str(coyo), detailed=detailed, models=models, cuts=cuts)
        out = tmp_path / str(detailed)
        build(make_plan(recipe, out, data=str(coyo)))
        rows = ledger(out)
        assert rows.height == SCENES + 4
        reasons = dict(rows.filter(pl.col("decision") != "kept").select("origin", "reason").rows())
        assert reasons["000000100"] in ("ExactDedup[bytes].duplicate", "ClusterBalance.quota") or "000000009" in reasons
        assert (reasons["000000101"], reasons["000000102"]) == ("AspectRatio.above", "ShortSide.below")
        assert reasons["000000103"] == "Decodable.error"
        assert {reasons["000000000"], reasons["000000001"]} == {"ImageTextSimilarity.below"}
        kept = rows.filter(decision="kept")
        assert 4 <= kept.height <= 12  # at most three of each of four clusters
        assert kept["Aesthetic"].null_count() == 0
        for sample in ShardReader(open_dataset(out)[1][0]):
            answer = sample.fields["turns"][-1]
            assert answer["text"].endswith(f"({tokens} tokens)")
            assert answer["was"] in ("", "IMG_2034.JPG", "a copy")


def test_plan_of_the_published_recipe_needs_no_model(coyo: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("vl3_syn7m_short", "vl3_syn7m_detailed"):
        assert main(["plan", name, "--data", str(coyo)]) == 0
    told = capsys.readouterr().out
    for step in ("AspectRatio", "Aesthetic", "CoarseCaption", "ImageTextSimilarity", "ClusterBalance", "InternVL2-26B"):
        assert step in told
