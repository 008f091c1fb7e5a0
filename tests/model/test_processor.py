"""The processor against transformers' own, on the directories it writes."""

import dataclasses
import io
import json
import os
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from model import Processor
from model.batch import IGNORED
from model.frames import Frames, MediaError
from model.geometry import Medium, VisualRules
from model.tokenizer import Tokenizer
from model.torchvision_repair import repair_torchvision
from model.visuals import patchify

CONVERSATION = [
    {"role": "user", "text": "<image>\nWhat is this?"},
    {"role": "assistant", "text": "Noise."},
]


def picture(height: int, width: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def normalised(patches: np.ndarray) -> np.ndarray:
    return (patches.astype(np.float32) / 255 - 0.5) / 0.5


def moving(count: int, height: int = 112, width: int = 168) -> Frames:
    """A still background with one moving square, and one frame that repeats the one before."""
    frames = np.repeat(picture(height, width)[None], count, axis=0)
    for index in range(count):
        place = 28 * min(index, count - 2)
        frames[index, 28:56, place % width : place % width + 28] = 255
    return Frames(pixels=frames, times=tuple(float(second) for second in range(count)))


def port(processor: Processor, path: Path) -> Any:
    repair_torchvision()
    from transformers import VideoLlama3Processor

    processor.save_pretrained(path)
    return VideoLlama3Processor.from_pretrained(path)


@pytest.mark.parametrize("size", [(90, 130), (300, 40), (700, 900), (8, 9)])
@pytest.mark.parametrize("merge", [1, 2])
def test_image_equals_the_ports_pil_processor(size: tuple[int, int], merge: int) -> None:
    repair_torchvision()
    from transformers.models.video_llama_3.image_processing_pil_video_llama_3 import VideoLlama3ImageProcessorPil

    processor = Processor.tiny(image_merge=merge, min_tokens=16)
    area = (14 * merge) ** 2
    reference = VideoLlama3ImageProcessorPil(
        size={"shortest_edge": 16 * area, "longest_edge": 256 * area},
        image_mean=[0.5] * 3,
        image_std=[0.5] * 3,
        merge_size=merge,
    )(Image.fromarray(picture(*size)))
    encoded = processor(CONVERSATION, images=[picture(*size)])
    wanted = np.asarray(reference["pixel_values"])
    assert np.array_equal(encoded.grids, np.asarray(reference["image_grid_thw"]))
    assert np.array_equal(normalised(encoded.patches), wanted)


def test_tokens_equal_the_ports_on_an_image_conversation(tmp_path: Path) -> None:
    processor = Processor.tiny()
    reference = port(processor, tmp_path)
    content = [{"type": "image"}, {"type": "text", "text": "What is this?"}]
    chat = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": content}]
    text = reference.apply_chat_template(chat, add_generation_prompt=True, tokenize=False)
    wanted = reference(text=[text], images=[Image.fromarray(picture(90, 130))], return_tensors="pt")
    encoded = processor(chat, images=[picture(90, 130)], generation=True)
    assert encoded.tokens.tolist() == wanted["input_ids"][0].tolist()
    assert encoded.grids.tolist() == wanted["image_grid_thw"].tolist()
    assert encoded.merges.tolist() == wanted["image_merge_sizes"].tolist()


def test_tokens_and_mask_equal_the_ports_on_a_video_conversation(tmp_path: Path) -> None:
    processor = Processor.tiny()
    reference = port(processor, tmp_path)
    frames = moving(5)
    content = [{"type": "video"}, {"type": "text", "text": "What moves?"}]
    chat = [{"role": "user", "content": content}, {"role": "assistant", "content": "A square."}]
    text = reference.apply_chat_template(chat, tokenize=False)
    wanted = reference(
        text=[text],
        videos=[torch.from_numpy(frames.pixels).permute(0, 3, 1, 2)],
        video_metadata=[{"fps": 1, "total_num_frames": 5, "frames_indices": list(range(5))}],
        do_sample_frames=False,
        return_tensors="pt",
    )
    encoded = processor(chat, videos=[frames])
    assert encoded.grids.tolist() == wanted["video_grid_thw"].tolist()
    assert encoded.keep.tolist() == wanted["video_compression_mask"].tolist()
    assert encoded.tokens.tolist() == wanted["input_ids"][0].tolist()
    np.testing.assert_allclose(normalised(encoded.patches), wanted["pixel_values_videos"].numpy(), atol=1e-6, rtol=0)
    assert 0 < encoded.keep.mean() < 1
    assert encoded.keep.reshape(5, -1)[4].tolist() == [True] + [False] * 23, "a repeated frame keeps one token"


@pytest.mark.parametrize("merge", [1, 2])
def test_patches_follow_the_published_order(merge: int) -> None:
    """Pixel by pixel: frame, window row, window column, row and column in the window, colour, then the patch."""
    pixels = np.random.default_rng(1).integers(0, 256, (2, 56, 84, 3), dtype=np.uint8)
    wanted = [
        [
            pixels[f, 14 * (merge * r + i) + y, 14 * (merge * c + j) + x, k]
            for k in range(3)
            for y in range(14)
            for x in range(14)
        ]
        for f in range(2)
        for r in range(4 // merge)
        for c in range(6 // merge)
        for i in range(merge)
        for j in range(merge)
    ]
    assert np.array_equal(patchify(pixels, patch=14, merge=merge), np.array(wanted))


def test_mixed_sample_keeps_the_order_of_its_media() -> None:
    processor = Processor.tiny()
    turns = [{"role": "user", "text": "<video> or <image>?"}, {"role": "assistant", "text": "Both"}]
    encoded = processor(turns, images=[picture(60, 60)], videos=[moving(3)])
    assert encoded.kinds == ("video", "image")
    assert encoded.merges.tolist() == [2, 1]
    image_id, video_id = processor.placeholder_ids
    placeholders = [t for t in encoded.tokens.tolist() if t in (image_id, video_id)]
    tokens = int(encoded.grids[1].prod())
    assert placeholders == [video_id] * (int(encoded.keep.sum()) - tokens) + [image_id] * tokens
    assert encoded.keep[-tokens:].all()
    alone = processor([{"role": "user", "text": "<image>"}], images=[picture(60, 60)])
    assert np.array_equal(encoded.patches[-len(alone.patches) :], alone.patches)


def test_images_come_in_every_form(tmp_path: Path) -> None:
    processor = Processor.tiny()
    image = Image.fromarray(picture(50, 70))
    image.save(tmp_path / "picture.png")
    data = (tmp_path / "picture.png").read_bytes()
    forms = [image, picture(50, 70), data, tmp_path / "picture.png", io.BytesIO(data)]
    encoded = [processor(CONVERSATION, images=[form]).patches for form in forms]
    assert all(np.array_equal(encoded[0], other) for other in encoded[1:])


def test_counting_equals_encoding() -> None:
    processor = Processor.tiny(prune=False)
    turns = [{"role": "user", "text": "<image><video><image>"}]
    encoded = processor(turns, images=[picture(50, 70), picture(400, 300)], videos=[moving(3)])
    media = [Medium("image", 50, 70), Medium("video", 112, 168, 3), Medium("image", 400, 300)]
    assert sum(processor.visual_tokens(media)) == len(encoded.keep)


def test_pruning_off_keeps_everything() -> None:
    turns = [{"role": "user", "text": "<video>"}]
    assert Processor.tiny(prune=False)(turns, videos=[moving(4)]).keep.all()


def test_budget_can_be_replaced_for_one_sample() -> None:
    processor = Processor.tiny()
    sizes = [len(processor(CONVERSATION, images=[picture(900, 900)], max_tokens=n).patches) for n in (16, 100, 400)]
    assert sizes == [16, 100, 400]


def test_stream_takes_no_frame_after_its_last_turn() -> None:
    turns = [
        {"role": "user", "text": "<video> Tell me.", "time": 0.0},
        {"role": "assistant", "text": "Now.", "time": 2.0},
    ]
    processor = Processor.tiny()
    encoded = processor(turns, videos=[moving(6)])
    assert encoded.grids[0, 0] == 3
    text = processor.tokenizer.decode(encoded.tokens.tolist())
    assert "Time 2.0s: " in text
    assert "Time 3.0s: " not in text


def test_text_only_sample_has_no_patches() -> None:
    encoded = Processor.tiny()([{"role": "assistant", "text": "Words."}])
    assert encoded.patches.shape == (0, 588)
    assert encoded.grids.shape == (0, 3)
    assert (encoded.labels != IGNORED).sum() > 1


def test_faulty_media_are_named() -> None:
    processor = Processor.tiny()
    two = [{"role": "user", "text": "<image><image>"}]
    with pytest.raises(MediaError, match="image 1: image: cannot be decoded"):
        processor(two, images=[picture(9, 9), b"nonsense"])
    with pytest.raises(MediaError, match=r"image 0: found uint8 \(9, 9\)"):
        processor(two, images=[picture(9, 9)[..., 0], picture(9, 9)])
    with pytest.raises(MediaError, match="video 0: video: cannot be read"):
        processor([{"role": "user", "text": "<video>"}], videos=[b"nonsense"])
    with pytest.raises(ValueError, match="found 2 <image>, given 1 images"):
        processor(two, images=[picture(9, 9)])
    with pytest.raises(ValueError, match="one <image> or <video> per medium"):
        processor(two, images=[picture(9, 9)] * 2, kinds=["image", "video"])


# Directories


def test_saved_processor_comes_back(tmp_path: Path) -> None:
    processor = Processor.tiny(threshold=0.3, fps=2.0, image_merge=2)
    processor.save_pretrained(tmp_path)
    again = Processor.from_pretrained(tmp_path)
    assert again.rules == processor.rules
    assert again.placeholder_ids == processor.placeholder_ids
    assert again.tokenizer.digest() == processor.tokenizer.digest()
    assert Processor.from_pretrained(tmp_path, max_tokens=77).rules.max_tokens == 77


def test_ports_own_files_are_understood(tmp_path: Path) -> None:
    processor = Processor.tiny(max_tokens=500, min_tokens=9, image_merge=2, fps=2.0, max_frames=30, prune=False)
    reference = port(processor, tmp_path / "ours")
    reference.save_pretrained(tmp_path / "theirs")
    assert not (tmp_path / "theirs" / "visual_rules.json").exists()
    assert Processor.from_pretrained(tmp_path / "theirs").rules == processor.rules


def test_original_release_is_understood(tmp_path: Path) -> None:
    Tokenizer.shipped().save(tmp_path)
    files = {
        "config.json": {"image_token_index": 3, "use_token_compression": True, "model_type": "videollama3_qwen2"},
        "preprocessor_config.json": {
            "image_mean": [0.5] * 3,
            "image_std": [0.5] * 3,
            "min_tokens": 16,
            "max_tokens": 16384,
            "patch_size": 14,
        },
        "processor_config.json": {"fps": 1, "max_frames": 128, "image_merge_size": 1, "video_merge_size": 2},
    }
    for name, values in files.items():
        (tmp_path / name).write_text(json.dumps(values))
    processor = Processor.from_pretrained(tmp_path)
    assert processor.rules == VisualRules(max_frames=128)
    assert processor.placeholder_ids == (3, 3)
    turns = [{"role": "user", "text": "<image><video>"}]
    tokens = processor(turns, images=[picture(60, 60)], videos=[moving(3)], max_tokens=200).tokens
    assert processor.tokenizer.decode(tokens.tolist()).count("<image>") == (tokens == 3).sum() > 20


def test_other_scaling_is_refused(tmp_path: Path) -> None:
    Tokenizer.shipped().save(tmp_path)
    (tmp_path / "preprocessor_config.json").write_text(json.dumps({"image_mean": [0.48, 0.46, 0.41]}))
    with pytest.raises(ValueError, match="image_mean is"):
        Processor.from_pretrained(tmp_path)


def test_unknown_rules_are_refused(tmp_path: Path) -> None:
    Processor.tiny().save_pretrained(tmp_path)
    file = tmp_path / "visual_rules.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"depth": 3}))
    with pytest.raises(ValueError, match="found depth"):
        Processor.from_pretrained(tmp_path)


def test_processor_is_a_value() -> None:
    processor = Processor.tiny()
    other = dataclasses.replace(processor, rules=VisualRules())
    assert other.rules != processor.rules
    assert other.tokenizer is processor.tokenizer


@pytest.mark.corpus
@pytest.mark.skipif("VL3_CORPUS" not in os.environ, reason="VL3_CORPUS is not set")
def test_real_clip_fills_its_placeholders() -> None:
    processor = Processor.tiny()
    with tarfile.open(Path(os.environ["VL3_CORPUS"]) / "videos-00000.tar") as tar:
        member = next(member for member in tar if member.name.endswith(".mp4"))
        file = tar.extractfile(member)
        assert file is not None
        encoded = processor([{"role": "user", "text": "<video>"}], videos=[file.read()])
    assert (encoded.tokens == processor.placeholder_ids[1]).sum() == encoded.keep.sum()
    assert encoded.grids[0, 0] == 9
