"""Heads: published file formats against torch modules of the published definition, and hostile files."""

import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from curation.batch import Batch
from curation.filters import Aesthetic, Faces, Nsfw, Watermark
from curation.neural import EncoderSpec, HeadSpec, media_embeddings
from curation.operator import OperatorError
from tests.curation import encoder_models as tiny


def improved_aesthetic() -> nn.Module:
    """The improved predictor's layers, 768 wide, as its published checkpoint names them."""
    module = nn.Module()
    module.layers = nn.Sequential(
        nn.Linear(768, 1024), nn.Dropout(0.2), nn.Linear(1024, 128), nn.Dropout(0.2), nn.Linear(128, 64), nn.Dropout(0.1),
        nn.Linear(64, 16), nn.Linear(16, 1),
    )  # fmt: skip
    return module


def rows(width: int, count: int = 6) -> np.ndarray:
    values = np.random.default_rng(0).normal(size=(count, width)).astype(np.float32)
    return values / np.linalg.norm(values, axis=1, keepdims=True)


@pytest.mark.parametrize("suffix", ["pth", "safetensors"])
def test_improved_aesthetic_head_of_the_published_shape(suffix: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    module, path = improved_aesthetic().eval(), tmp_path / f"sac+logos+ava1-l14-linearMSE.{suffix}"
    if suffix == "pth":
        torch.save(module.state_dict(), path)
    else:
        save_file(module.state_dict(), path)
    with torch.no_grad():
        wanted = module.layers(torch.from_numpy(rows(768)))[:, 0].numpy()
    np.testing.assert_allclose(HeadSpec(path=str(path)).load()(rows(768)), wanted, atol=1e-5)


def test_linear_aesthetic_head_of_the_published_shape(tmp_path: Path) -> None:
    linear, path = nn.Linear(768, 1), tmp_path / "sa_0_4_vit_l_14_linear.pth"
    torch.save(linear.state_dict(), path)
    with torch.no_grad():
        wanted = linear(torch.from_numpy(rows(768)))[:, 0].numpy()
    np.testing.assert_allclose(HeadSpec(path=str(path)).load()(rows(768)), wanted, atol=1e-5)


@pytest.mark.parametrize(("name", "module"), [("relu", nn.ReLU()), ("gelu", nn.GELU())])
def test_classifier_with_activations_and_a_last_layer_without(name: str, module: nn.Module, tmp_path: Path) -> None:
    torch.manual_seed(1)
    layers = nn.Sequential(
        nn.Linear(32, 24), module, nn.Dropout(0.2), nn.Linear(24, 16), module, nn.Linear(16, 8), nn.Linear(8, 1)
    ).eval()
    torch.save({f"layers.{key}": value for key, value in layers.state_dict().items()}, tmp_path / "nsfw.pth")
    with torch.no_grad():
        wanted = torch.sigmoid(layers(torch.from_numpy(rows(32))))[:, 0].numpy()
    head = HeadSpec(path=str(tmp_path / "nsfw.pth"), activation=name, output="sigmoid").load()
    np.testing.assert_allclose(head(rows(32)), wanted, atol=1e-6)


def test_score_of_a_sample_is_the_head_of_its_embedding(tmp_path: Path) -> None:
    encoder = EncoderSpec(model=str(tiny.open_clip_directory(tmp_path / "clip")), batch=4)
    linear = nn.Linear(128, 1)
    torch.save(linear.state_dict(), tmp_path / "head.pth")
    head = HeadSpec(path=str(tmp_path / "head.pth"))
    batch = Batch([tiny.image_sample(0), tiny.text_sample(1), tiny.image_sample(2)])
    with torch.no_grad():
        wanted = linear(torch.from_numpy(media_embeddings(batch, encoder).astype(np.float32)))[:, 0].tolist()
    found = Aesthetic(encoder=encoder, head=head, low=4.5).open()(batch).to_list()
    assert found[1] is None
    assert [found[0], found[2]] == pytest.approx([wanted[0], wanted[2]], abs=1e-5)
    assert batch.counters["embedded"] == 2
    for kind in (Nsfw, Watermark, Faces):  # the same number whoever stands beside it
        assert kind(encoder=encoder, head=head).open()(Batch([tiny.image_sample(2)])).to_list() == [found[2]]


class _Payload:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return (Path.touch, (Path("/tmp/vl3-pickle-ran"),))  # type: ignore[return-value]


def test_hostile_and_unfit_files_are_refused(tmp_path: Path) -> None:
    (tmp_path / "code.pth").write_bytes(pickle.dumps({"weight": _Payload()}))
    (tmp_path / "junk.safetensors").write_bytes(b"\xff" * 64)
    torch.save({"weight": torch.full((1, 8), float("nan")), "bias": torch.zeros(1)}, tmp_path / "nan.pth")
    torch.save({"weight": torch.zeros(2, 8), "bias": torch.zeros(2)}, tmp_path / "two.pth")
    torch.save({"0.weight": torch.zeros(4, 8), "2.weight": torch.zeros(1, 5)}, tmp_path / "gap.pth")
    torch.save({"conv.kernel": torch.zeros(4)}, tmp_path / "other.pth")
    torch.save([1, 2], tmp_path / "list.pth")
    faults = {
        "code.pth": "refused", "junk.safetensors": "no safetensors", "nan.pth": "not finite", "two.pth": "wanted 1",
        "gap.pth": "layer 2", "other.pth": "linear layers", "list.pth": "named tensors", "absent.pth": "no such file",
    }  # fmt: skip
    for name, words in faults.items():
        with pytest.raises(OperatorError, match=words):
            HeadSpec(path=str(tmp_path / name)).load()
    assert not Path("/tmp/vl3-pickle-ran").exists()


def test_head_of_another_encoder_is_refused(tmp_path: Path) -> None:
    torch.save(nn.Linear(768, 1).state_dict(), tmp_path / "head.pth")
    with pytest.raises(OperatorError, match="768 numbers, the encoder gives 128"):
        HeadSpec(path=str(tmp_path / "head.pth")).load()(rows(128))
