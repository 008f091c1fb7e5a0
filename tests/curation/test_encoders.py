"""Encoders: published formats against the libraries themselves; embeddings that depend on nothing but the sample."""

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from threading import Event

import numpy as np
import polars as pl
import pytest
import torch
from PIL import Image

from curation.batch import Batch, batches
from curation.filters import CaptionGain, EncoderOverflow, ImageTextSimilarity
from curation.neural import EncoderSpec, MediaEmbedding, media_embeddings
from curation.neural.encoder import Encoder
from curation.neural.journal import Journal, key_of
from curation.operator import OperatorError, RecipeError
from curation.sample import Media, Origin, SampleError, caption_turns, make_sample
from curation.select import SemanticDedup
from curation.sources.synthetic import clips
from model.torchvision_repair import repair_torchvision
from tests.curation import encoder_models as tiny

CAPTIONS = ["a large red circle", "two small squares", "a picture of nothing", "a green triangle on pink"]


@pytest.fixture(scope="module", autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)
    repair_torchvision()


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.open_clip_directory(tmp_path_factory.mktemp("clip"))


@pytest.fixture(scope="module")
def spec(directory: Path) -> EncoderSpec:
    return EncoderSpec(model=str(directory), batch=4)


def vectors(spec: EncoderSpec, numbers: list[int]) -> np.ndarray:
    return media_embeddings(Batch([tiny.image_sample(n) for n in numbers]), spec)


def bare(directory: Path, pixels: list[np.ndarray], texts: list[str]) -> tuple[np.ndarray, np.ndarray]:
    """What open_clip itself says, as its README calls it."""
    import open_clip

    name = f"local-dir:{directory}"
    model, _, preprocess = open_clip.create_model_and_transforms(name)
    model.eval()
    with torch.no_grad():
        images = torch.stack([preprocess(Image.fromarray(p)) for p in pixels])
        tokens = open_clip.get_tokenizer(name)(texts)
        return (
            model.encode_image(images, normalize=True).numpy(),
            model.encode_text(tokens, normalize=True).numpy(),
        )


def test_open_clip_directory_gives_what_open_clip_gives(directory: Path, spec: EncoderSpec) -> None:
    samples = [tiny.image_sample(n, CAPTIONS[n % 4]) for n in range(7)]
    batch = Batch(samples)
    images, texts = bare(directory, [batch.pixels(i, 0) for i in range(7)], [s.answers() for s in samples])
    np.testing.assert_allclose(media_embeddings(Batch(samples), spec), images, atol=1e-3)
    cosines = ImageTextSimilarity(encoder=spec).open()(Batch(samples))
    np.testing.assert_allclose(cosines.to_numpy(), (images * texts).sum(axis=1), atol=2e-3)


def test_checkpoint_of_an_architecture_is_loaded_as_open_clip_trains_it(directory: Path, tmp_path: Path) -> None:
    import json

    import open_clip

    config = json.loads((directory / "open_clip_config.json").read_text())["model_cfg"]
    config["text_cfg"]["hf_tokenizer_name"] = str(directory)
    (tmp_path / "configs").mkdir()
    (tmp_path / "configs" / "vl3-test-arch.json").write_text(json.dumps(config))
    open_clip.add_model_config(tmp_path / "configs")
    model = open_clip.create_model("vl3-test-arch")
    state = {f"module.{name}": value for name, value in model.state_dict().items()}
    torch.save({"epoch": 3, "name": "run", "state_dict": state}, tmp_path / "epoch_3.pt")
    spec = EncoderSpec(model="vl3-test-arch", pretrained=str(tmp_path / "epoch_3.pt"))
    pixels = Batch([tiny.image_sample(1)]).pixels(0, 0)
    _, _, preprocess = open_clip.create_model_and_transforms("vl3-test-arch")
    with torch.no_grad():
        wanted = model.eval().encode_image(preprocess(Image.fromarray(pixels))[None], normalize=True).numpy()
    np.testing.assert_allclose(vectors(spec, [1]), wanted, atol=1e-3)


@pytest.mark.parametrize("kind", ["clip", "siglip"])
def test_transformers_model_gives_what_transformers_gives(kind: str, tmp_path: Path) -> None:
    from transformers import AutoImageProcessor, AutoModel, AutoTokenizer

    folder = tiny.transformers_clip(tmp_path / kind, kind)
    encoder = EncoderSpec(model=str(folder), library="transformers", batch=3)
    samples = [tiny.image_sample(n, CAPTIONS[n]) for n in range(4)]
    batch = Batch(samples)
    model = AutoModel.from_pretrained(folder).eval()
    processor, tokenizer = AutoImageProcessor.from_pretrained(folder), AutoTokenizer.from_pretrained(folder)
    pixels = processor(images=[Image.fromarray(batch.pixels(i, 0)) for i in range(4)], return_tensors="pt").pixel_values
    tokens = tokenizer(CAPTIONS, padding="max_length", truncation=True, max_length=24, return_tensors="pt")
    masks = {} if kind == "siglip" else {"attention_mask": tokens.attention_mask}
    with torch.no_grad():
        out = model(input_ids=tokens.input_ids, pixel_values=pixels, **masks)
    np.testing.assert_allclose(media_embeddings(batch, encoder), out.image_embeds.numpy(), atol=1e-3)
    wanted = (out.image_embeds * out.text_embeds).sum(dim=1).numpy()
    np.testing.assert_allclose(ImageTextSimilarity(encoder=encoder).open()(batch).to_numpy(), wanted, atol=2e-3)


def test_embedding_depends_on_the_sample_alone(spec: EncoderSpec) -> None:
    everything = vectors(spec, list(range(11)))
    for numbers in ([7], [3, 7], [10, 9, 8, 7, 6, 5, 4, 3], [7, 1, 2, 0, 5]):
        assert np.array_equal(vectors(spec, numbers), everything[numbers])


def test_one_decode_and_one_inference_serve_all_filters(spec: EncoderSpec, tmp_path: Path) -> None:
    samples = [tiny.image_sample(n, CAPTIONS[n % 4]) for n in range(5)]
    batch = Batch(samples, keep=tmp_path)
    first = ImageTextSimilarity(encoder=spec).open()(batch)
    MediaEmbedding(encoder=spec).open()(batch)
    assert batch.counters["embedded"] == 5
    assert batch.counters["media_decoded"] == 5
    again = Batch([*samples, tiny.image_sample(9)], keep=tmp_path)
    later = ImageTextSimilarity(encoder=spec).open()(again)
    assert later.to_list()[:5] == first.to_list()
    assert (again.counters["embedded"], again.counters["media_decoded"]) == (1, 1)


class Patient:
    """A tower whose inference ends once the pictures after those that it infers are decoded."""

    def __init__(self, decoded: list[Event]) -> None:
        self.decoded, self.seen = decoded, 0

    def prepare(self, pixels: np.ndarray) -> np.ndarray:
        return pixels

    def encode_images(self, prepared: np.ndarray) -> np.ndarray:
        self.seen += len(prepared)
        assert self.seen >= len(self.decoded) or self.decoded[self.seen].wait(timeout=30)
        return prepared.reshape(len(prepared), -1)

    def tokenize(self, texts: Sequence[str]) -> tuple[list[int], list[int]]:
        raise NotImplementedError

    def encode_texts(self, tokens: list[int]) -> np.ndarray:
        raise NotImplementedError


def test_batches_for_an_encoder_hold_whole_groups_in_order() -> None:
    photo = Media(kind="image", data=b"", width=1_000, height=700)  # 2.1 MB of pixels
    samples = [
        make_sample(Origin(source="s", locator=str(i), name=str(i)), caption_turns("a"), [photo]) for i in range(100)
    ]
    found = list(batches(samples, size=256, group=8))
    assert [sample for group in found for sample in group] == samples
    assert len(found[0]) >= 3 * 8
    assert all(len(group) % 8 == 0 for group in found[:-1])
    many = list(batches(samples[:1] * 1_000, size=256, group=128))  # room for several groups of a large encoder
    assert [len(group) for group in many] == [384, 384, 232]
    alone = list(batches(samples[:5], size=1))
    assert [len(group) for group in alone] == [1] * 5


def test_the_next_pictures_are_decoded_while_these_are_inferred() -> None:
    decoded = [Event() for _ in range(12)]

    def picture(number: int) -> np.ndarray:
        decoded[number].set()
        return np.full((3, 2, 2), 1.0, np.float32)

    pictures = [partial(picture, number) for number in range(len(decoded))]
    assert len(list(Encoder(Patient(decoded), batch=2).pictures(pictures))) == len(decoded)


def test_other_weights_are_another_identity(directory: Path, spec: EncoderSpec, tmp_path: Path) -> None:
    import shutil

    moved = tmp_path / "moved"
    shutil.copytree(directory, moved)
    score = ImageTextSimilarity(encoder=spec)
    same = replace(score, encoder=replace(spec, model=str(moved)))
    assert same.settings()["encoder"]["identity"] == score.settings()["encoder"]["identity"]
    weights = moved / "open_clip_model.safetensors"
    data = bytearray(weights.read_bytes())
    data[-1] ^= 1
    weights.write_bytes(data)
    assert same.settings()["encoder"]["identity"] != score.settings()["encoder"]["identity"]


def test_semantic_dedup_takes_an_encoder() -> None:
    spec = EncoderSpec.shipped()  # random weights give all pictures nearly the same vector
    samples = [tiny.image_sample(n, "x", tiny.jpeg(n % 3)) for n in range(6)] + [tiny.text_sample(9)]
    select = SemanticDedup(embed=MediaEmbedding(encoder=spec), cosine=0.9999, clusters=1)
    table = select.signature(Batch(samples)).with_columns(id=pl.Series([s.id for s in samples]))
    dropped = dict(select.choose(table).select("id", "duplicate_of").iter_rows())
    groups = [sorted(s.id for s in samples[first::3] if s.media) for first in range(3)]
    assert dropped == {ids[1]: ids[0] for ids in groups}
    assert select.settings()["embed"]["encoder"]["identity"] == spec.identity()


def test_bad_picture_costs_itself_only(spec: EncoderSpec) -> None:
    samples = [
        tiny.image_sample(0),
        tiny.image_sample(1, "x", b"\xff\xd8\xff\xe0 not a jpeg"),
        tiny.image_sample(2),
        tiny.text_sample(3),
    ]
    batch = Batch(samples)
    found = media_embeddings(batch, spec)
    assert list(batch.errors) == [1]
    assert isinstance(batch.errors[1], SampleError)
    assert np.array_equal(found[[0, 2]], vectors(spec, [0, 2]))
    assert np.isnan(found[[1, 3]]).all()


def test_score_is_null_without_media_or_words(spec: EncoderSpec) -> None:
    batch = Batch([tiny.image_sample(0, ""), tiny.text_sample(1), tiny.image_sample(2)])
    values = ImageTextSimilarity(encoder=spec).open()(batch).to_list()
    assert values[:2] == [None, None]
    assert isinstance(values[2], float)
    assert ImageTextSimilarity(encoder=spec).open()(Batch([tiny.text_sample(1)])).to_list() == [None]


def test_video_is_the_mean_of_its_frames(spec: EncoderSpec) -> None:
    import random

    frames = clips.draw_frames(clips.make_clip(random.Random(4)))
    media = Media(kind="video", data=clips.encode_mp4(frames))
    sample = make_sample(Origin(source="t", locator="c", name="c"), caption_turns("a clip", ["video"]), [media])
    found = media_embeddings(Batch([sample]), spec)[0].astype(np.float32)
    # One frame a second is looked at; the codec loses a little.
    each = np.stack(list(spec.load().pictures([lambda f=f: f for f in frames[:: clips.FPS]])))
    wanted = each.mean(axis=0) / np.linalg.norm(each.mean(axis=0))
    assert wanted @ found > 0.98


def test_caption_gain_is_new_minus_old(spec: EncoderSpec) -> None:
    sample = tiny.image_sample(5, "the old words")
    turns = tuple(
        replace(turn, text="a large red circle", was=turn.text) if turn.role == "assistant" else turn
        for turn in sample.turns
    )
    renewed = Batch([replace(sample, turns=turns), tiny.image_sample(6)])
    score = ImageTextSimilarity(encoder=spec).open()
    new, old = score(Batch([replace(sample, turns=turns)]))[0], score(Batch([sample]))[0]
    gains = CaptionGain(encoder=spec).open()(renewed).to_list()
    assert gains[0] == pytest.approx(new - old, abs=1e-6)
    assert gains[1] is None


def test_words_beyond_the_context_are_counted(spec: EncoderSpec) -> None:
    long = "red circle " * 60
    batch = Batch([tiny.image_sample(0, long), tiny.image_sample(1, "short")])
    over = EncoderOverflow(encoder=spec).open()(batch).to_list()
    from transformers import AutoTokenizer

    length = len(AutoTokenizer.from_pretrained(spec.model)(" ".join(long.split())).input_ids)
    assert over == [length - 64, 0.0]
    assert batch.counters["texts_truncated"] == 1


@pytest.mark.parametrize(
    ("fields", "error", "words"),
    [
        ({"model": "ViT-B-32"}, OperatorError, "random weights"),
        ({"model": "no-such-arch", "pretrained": "laion2b"}, OperatorError, "cannot be loaded"),
        ({"model": ""}, RecipeError, "wanted a model"),
    ],
)
def test_encoder_that_cannot_be_is_refused(fields: dict[str, str], error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        EncoderSpec(**fields).load()


def test_journal_survives_a_torn_end(tmp_path: Path) -> None:
    journal = Journal(tmp_path, "x")
    for n in range(5):
        journal.put(key_of(str(n)), bytes([n]) * 100)
    journal.close()
    path = next(tmp_path.glob("*.journal"))
    path.write_bytes(path.read_bytes()[:-30])
    again = Journal(tmp_path, "x")
    assert [again.get(key_of(str(n))) for n in range(5)] == [bytes([n]) * 100 for n in range(4)] + [None]
    again.put(key_of("4"), b"anew")
    again.close()
    assert Journal(tmp_path, "x").get(key_of("4")) == b"anew"
