"""Captioners: published models of transformers and our own checkpoint, loaded by the real code from tiny random weights."""

from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from curation.media.decode import decode_image
from curation.neural import Caption, OwnModel, Request, TransformersModel
from curation.neural.captioner import CaptionerSpec
from curation.operator import OperatorError
from curation.sample import SampleError
from model.torchvision_repair import repair_torchvision
from tests.curation import encoder_models as tiny

SIZES: dict[str, Any] = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 2}


@pytest.fixture(scope="module", autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)
    torch.manual_seed(0)
    repair_torchvision()


def tokenizer_with(folder: Path, *special: str) -> Any:
    from transformers import AutoTokenizer

    tiny.tokenizer_files(folder)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    tokenizer.add_special_tokens({"additional_special_tokens": list(special)})
    return tokenizer


def enlarged(model: Any) -> Any:
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(6)  # so that what it says depends on what it sees
    return model


def blip2(folder: Path) -> None:
    from transformers import (
        Blip2Config,
        Blip2ForConditionalGeneration,
        Blip2Processor,
        BlipImageProcessorPil,
        OPTConfig,
    )

    tokenizer = tokenizer_with(folder, "<image>")
    text = OPTConfig(
        vocab_size=len(tokenizer), hidden_size=32, num_hidden_layers=2, ffn_dim=48, num_attention_heads=2,
        max_position_embeddings=128, word_embed_proj_dim=32, pad_token_id=0, bos_token_id=1, eos_token_id=1,
    )  # fmt: skip
    config = Blip2Config(
        vision_config={**SIZES, "image_size": 28, "patch_size": 14},
        qformer_config={**SIZES, "vocab_size": 64, "encoder_hidden_size": 32, "cross_attention_frequency": 1},
        text_config=text.to_dict(), num_query_tokens=4, image_token_index=tokenizer.convert_tokens_to_ids("<image>"),
    )  # fmt: skip
    enlarged(Blip2ForConditionalGeneration(config)).save_pretrained(folder)
    images = BlipImageProcessorPil(size={"height": 28, "width": 28})
    Blip2Processor(images, tokenizer, num_query_tokens=4).save_pretrained(folder)


def llava(folder: Path) -> None:
    from transformers import (
        CLIPImageProcessorPil,
        CLIPVisionConfig,
        LlamaConfig,
        LlavaConfig,
        LlavaForConditionalGeneration,
        LlavaProcessor,
    )

    tokenizer = tokenizer_with(folder, "<image>")
    vision = CLIPVisionConfig(**SIZES, image_size=28, patch_size=14, projection_dim=16)
    text = LlamaConfig(
        **SIZES,
        vocab_size=len(tokenizer),
        num_key_value_heads=2,
        max_position_embeddings=256,
        pad_token_id=0,
        bos_token_id=0,
        eos_token_id=1,
    )
    image = tokenizer.convert_tokens_to_ids("<image>")
    config = LlavaConfig(vision_config=vision, text_config=text, image_token_index=image, vision_feature_layer=-1)
    enlarged(LlavaForConditionalGeneration(config)).save_pretrained(folder)
    template = (
        "{% for m in messages %}{{ m.role }}: {% for part in m.content %}{% if part.type == 'image' %}<image>{% else %}"
        "{{ part.text }}{% endif %}{% endfor %}{% endfor %}assistant:"
    )
    LlavaProcessor(
        CLIPImageProcessorPil(size={"shortest_edge": 28}, crop_size=28), tokenizer, patch_size=14,
        vision_feature_select_strategy="default", chat_template=template, num_additional_image_tokens=1,
    ).save_pretrained(folder)  # fmt: skip


def ask(spec: CaptionerSpec, *requests: Request) -> list[Caption | SampleError]:
    found = dict(spec.load().answers(list(requests), beat=lambda _: None, counts=Counter()))
    return [found[n] for n in range(len(requests))]


def about(seed: int, tokens: int = 5) -> Request:
    return Request(text="describe the picture", media=(("image", "jpeg", tiny.jpeg(seed)),), max_tokens=tokens)


def reference(folder: Path, question: str, data: bytes, tokens: int) -> str:
    """What transformers itself answers, as the model's documentation calls it."""
    from transformers import AutoModelForImageTextToText, AutoProcessor

    processor, model = AutoProcessor.from_pretrained(folder), AutoModelForImageTextToText.from_pretrained(folder).eval()
    inputs = processor(images=Image.fromarray(decode_image(data)), text=question, return_tensors="pt")
    with torch.no_grad():
        out = model.generate(**inputs, max_new_tokens=tokens, do_sample=False)
    return processor.batch_decode(out[:, inputs["input_ids"].shape[1] :], skip_special_tokens=True)[0].strip()


@pytest.mark.parametrize(("make", "question"), [(blip2, "{}"), (llava, "user: <image>{}assistant:")])
def test_published_model_answers_as_transformers_does(make: Any, question: str, tmp_path: Path) -> None:
    make(tmp_path)
    spec = TransformersModel(model=str(tmp_path))
    found = ask(spec, about(1), about(2, tokens=7), about(3))
    assert all(isinstance(caption, Caption) for caption in found)
    wanted = [
        reference(tmp_path, question.format("describe the picture"), tiny.jpeg(n), tokens)
        for n, tokens in ((1, 5), (2, 7), (3, 5))
    ]
    assert [caption.text for caption in found if isinstance(caption, Caption)] == wanted
    assert any(wanted)


def test_bad_picture_costs_its_request_only(tmp_path: Path) -> None:
    llava(tmp_path)
    bad = Request(text="describe", media=(("image", "jpeg", b"\xff\xd8\xff\xe0 cut"),), max_tokens=5)
    found = ask(TransformersModel(model=str(tmp_path), batch=3), about(1), bad, about(3))
    assert [isinstance(answer, SampleError) for answer in found] == [False, True, False]


def test_own_directory_in_the_port_layout_is_a_captioner(tmp_path: Path) -> None:
    from model.config import ModelConfig
    from model.processor import Processor
    from model.videollama3 import VideoLLaMA3

    model = VideoLLaMA3(ModelConfig.preset("tiny"))
    model.save_pretrained(tmp_path, Processor.tiny(max_tokens=64))
    (found,) = ask(OwnModel(path=str(tmp_path)), about(1, tokens=4))
    assert isinstance(found, Caption)
    conversation = [{"role": "user", "content": [{"type": "image"}, {"type": "text", "text": "describe the picture"}]}]
    processor = Processor.from_pretrained(tmp_path)
    wanted = model.eval().generate(processor, conversation, images=[tiny.jpeg(1)], max_new_tokens=4)
    assert found.text == wanted.strip()


def test_identity_is_the_weights_not_the_place(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "model.safetensors").write_bytes(b"weights")
    first, second = (OwnModel(path=str(tmp_path / name)) for name in ("a", "b"))
    assert first.identity() == second.identity()
    (tmp_path / "b" / "model.safetensors").write_bytes(b"Weights")
    assert first.identity() != second.identity()


@pytest.mark.parametrize("spec", [OwnModel(path="/nonexistent/model"), TransformersModel(model="/nonexistent/model")])
def test_model_that_is_not_there_is_an_operator_error(spec: CaptionerSpec) -> None:
    with pytest.raises(OperatorError, match="cannot be loaded"):
        spec.load()
