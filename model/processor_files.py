"""Processor files: visual rules and chat template in the files of a checkpoint directory, ours and others'.

Our own file is exact. The port's files say what the port can express: one pixel budget per image and one per video, set
so that a sample of one medium gets the same size. A budget shared by several media is known to our own file only.
"""

from __future__ import annotations

import json
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

from model.geometry import VisualRules

SETTINGS = "visual_rules.json"
_NORMAL = [0.5, 0.5, 0.5]  # mean and deviation of every released checkpoint, and what the vision encoder applies

_TEMPLATE = """\
{%- for message in messages -%}
{%- if message.role == 'stream' -%}{{ '<|stream_start|>stream\\n' }}
{%- else -%}{{ '<|im_start|>' + message.role + '\\n' }}{%- endif -%}
{%- if message.content is string -%}{{ message.content }}
{%- else -%}
{%- for part in message.content -%}
{%- if part.type == 'image' -%}
{%- if message.role == 'stream' and part.time is defined -%}{{ 'Time %.1fs: ' % part.time }}{%- endif -%}
{{ 'IMAGE\\n' }}
{%- elif part.type == 'video' -%}{{ 'VIDEO\\n' }}
{%- else -%}{{ part.text }}{%- endif -%}
{%- endfor -%}
{%- endif -%}
{%- if message.role == 'stream' -%}{{ '<|stream_end|>\\n' }}
{%- else -%}{{ '<|im_end|>\\n' }}{%- endif -%}
{%- endfor -%}
{%- if add_generation_prompt -%}{{ '<|im_start|>assistant\\n' }}{%- endif -%}
"""


def read_rules(path: str | Path) -> VisualRules:
    """Visual rules of a directory: ours, the port's, the original release's, or the defaults if it holds none.

    Raises ValueError if its pixels are not scaled as the vision encoder of this project scales them.
    """
    path = Path(path)
    own = _read(path / SETTINGS)
    if own:
        known = {field.name for field in fields(VisualRules)}
        if unknown := sorted(own.keys() - known):
            raise ValueError(f"{path / SETTINGS}: found {', '.join(unknown)}; known are {', '.join(sorted(known))}")
        return VisualRules(**own)
    joint, config = _read(path / "processor_config.json"), _read(path / "config.json")
    image = joint.get("image_processor") or _read(path / "preprocessor_config.json")
    video = joint.get("video_processor") or _read(path / "video_preprocessor_config.json")
    for name in ("image_mean", "image_std"):
        if image.get(name, _NORMAL) != _NORMAL:
            raise ValueError(f"{path}: {name} is {image[name]}, wanted {_NORMAL}: this is no VideoLLaMA3 checkpoint")
    flat = {**image, **joint}
    patch, merge = image.get("patch_size", 14), flat.get("image_merge_size", image.get("merge_size", 1))
    found: dict[str, Any] = {
        "patch": patch,
        "image_merge": merge,
        "video_merge": flat.get("video_merge_size", video.get("merge_size")),
        "min_tokens": image.get("min_tokens"),
        "max_tokens": image.get("max_tokens"),
        "fps": flat.get("fps") or video.get("fps"),
        "max_frames": flat.get("max_frames") or video.get("max_frames"),
        "prune": video.get("use_token_compression", config.get("use_token_compression")),
    }
    if size := image.get("size"):  # the port counts pixels of one image
        found["min_tokens"] = size["shortest_edge"] // (patch * merge) ** 2
        found["max_tokens"] = size["longest_edge"] // (patch * merge) ** 2
    return VisualRules(**{name: value for name, value in found.items() if value is not None})


def read_placeholder_ids(path: str | Path) -> tuple[int, int] | None:
    """Ids of image and video placeholders that config.json names: the port's two, the original's one; None without."""
    config = _read(Path(path) / "config.json")
    if "image_token_id" in config:
        return config["image_token_id"], config.get("video_token_id", config["image_token_id"])
    if "image_token_index" in config:
        return config["image_token_index"], config["image_token_index"]
    return None


def write_rules(path: str | Path, rules: VisualRules) -> None:
    """Write our file, and the port's processor, image and video files."""
    path = Path(path)
    path.mkdir(parents=True, exist_ok=True)
    common = {
        "do_resize": True,
        "do_rescale": True,
        "do_normalize": True,
        "do_convert_rgb": True,
        "rescale_factor": 1 / 255,
        "image_mean": _NORMAL,
        "image_std": _NORMAL,
        "resample": 3,
        "patch_size": rules.patch,
        "temporal_patch_size": 1,
    }
    image = common | {
        "image_processor_type": "VideoLlama3ImageProcessor",
        "merge_size": rules.image_merge,
        "size": _pixels(rules, rules.image_merge),
    }
    video = common | {
        "video_processor_type": "VideoLlama3VideoProcessor",
        "merge_size": rules.video_merge,
        "size": _pixels(rules, rules.video_merge),
        "do_sample_frames": True,
        "fps": rules.fps,
        "min_frames": 1,
        "max_frames": rules.max_frames,
        "use_token_compression": rules.prune,
    }
    _write(path / SETTINGS, asdict(rules))
    _write(path / "preprocessor_config.json", image)
    _write(path / "video_preprocessor_config.json", video)
    joint = {"processor_class": "VideoLlama3Processor", "image_processor": image, "video_processor": video}
    _write(path / "processor_config.json", joint)


def write_chat_template(path: str | Path, *, image_token: str, video_token: str) -> None:
    """Write the chat as the template that transformers applies: one tag per medium, which its processor expands."""
    template = _TEMPLATE.replace("IMAGE", image_token).replace("VIDEO", video_token)
    (Path(path) / "chat_template.jinja").write_text(template, encoding="utf-8")


def _pixels(rules: VisualRules, merge: int) -> dict[str, int]:
    area = (rules.patch * merge) ** 2
    return {"shortest_edge": rules.min_tokens * area, "longest_edge": rules.max_tokens * area}


def _read(file: Path) -> dict[str, Any]:
    return json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}


def _write(file: Path, values: dict[str, Any]) -> None:
    file.write_text(json.dumps(values, indent=2, sort_keys=True) + "\n", encoding="utf-8")
