"""Sizes against the published rows, the port's own function, and the budget."""

import math
import subprocess
import sys

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from model.geometry import Grid, Medium, VisualRules, count_frames, count_visual_tokens, plan_grids, smart_resize

# height, width, merge, max_tokens, frames -> height, width, tokens of a frame (outputs of the released code)
PUBLISHED = [
    (369, 500, 1, 16384, 1, 364, 504, 936),
    (1080, 1920, 1, 16384, 1, 1078, 1918, 10549),
    (4000, 6000, 1, 16384, 1, 1456, 2184, 16224),
    (4000, 6000, 1, 10240, 1, 1148, 1722, 10086),
    (10, 10, 1, 16384, 1, 56, 56, 16),
    (20, 4000, 1, 16384, 1, 14, 4004, 286),
    (480, 640, 2, 10240, 180, 168, 224, 48),
    (480, 640, 2, 10240, 60, 308, 420, 165),
    (1080, 1920, 2, 10240, 180, 140, 280, 50),
    (1080, 1920, 2, 16384, 180, 196, 336, 84),
]
SIDES = st.integers(1, 20_000)


@pytest.mark.parametrize(("height", "width", "merge", "budget", "frames", "to_height", "to_width", "tokens"), PUBLISHED)
def test_sizes_equal_the_published_ones(
    height: int, width: int, merge: int, budget: int, frames: int, to_height: int, to_width: int, tokens: int
) -> None:
    size = smart_resize(height, width, factor=14 * merge, max_tokens=budget, shares=frames)
    assert size == (to_height, to_width)
    kind = "image" if merge == 1 else "video"
    rules = VisualRules(max_tokens=budget)
    (grid,) = plan_grids([Medium(kind, height, width, frames)], rules)
    assert grid == Grid(frames, to_height // 14, to_width // 14)
    assert grid.tokens(merge) == tokens * frames


@settings(deadline=None)  # the first call imports the port
@given(height=SIDES, width=SIDES, merge=st.sampled_from([1, 2]), budget=st.sampled_from([256, 1024, 10240, 16384]))
def test_one_image_is_resized_as_by_the_port(height: int, width: int, merge: int, budget: int) -> None:
    area = (14 * merge) ** 2
    size = smart_resize(height, width, factor=14 * merge, max_tokens=budget)
    shorter, longer = sorted((height, width))
    assume(longer / shorter <= 16)  # of thinner strips the port goes over the budget; see the guard's own test
    assume(not original_also_scales_up(height, width, 14 * merge, budget))
    assert size == port_resize(height, width, 14 * merge, 16 * area, budget * area)


def port_resize(height: int, width: int, factor: int, min_pixels: int, max_pixels: int) -> tuple[int, int]:
    """The port's function, imported where it is used: it drags torch in."""
    from model.torchvision_repair import repair_torchvision

    repair_torchvision()
    from transformers.models.video_llama_3.image_processing_pil_video_llama_3 import smart_resize as reference

    return reference(height, width, factor, min_pixels, max_pixels)


def original_also_scales_up(height: int, width: int, factor: int, budget: int) -> bool:
    """Where the port applies one bound, the original applies both: after scaling down, the floor may bite."""
    scale = math.sqrt(height * width / (budget * factor**2)) * factor
    return math.floor(height / scale) * math.floor(width / scale) < 16 and height * width > budget * factor**2


@given(height=SIDES, width=SIDES, merge=st.sampled_from([1, 2]), shares=st.integers(1, 2000))
def test_no_side_vanishes_and_the_budget_holds(height: int, width: int, merge: int, shares: int) -> None:
    factor = 14 * merge
    rows, columns = (
        side / factor for side in smart_resize(height, width, factor=factor, max_tokens=16384, shares=shares)
    )
    assert rows == int(rows) >= 1
    assert columns == int(columns) >= 1
    # The floor of 16 tokens wins over the share; rounding both sides up at most doubles it.
    assert 16 <= rows * columns <= max(16384 // shares, 32)


@pytest.mark.parametrize(("height", "width"), [(1, 20_000), (20_000, 1), (4, 1000), (1, 1), (3, 50)])
def test_strips_cost_no_more_than_their_share(height: int, width: int) -> None:
    tall, wide = smart_resize(height, width, factor=28, max_tokens=1800, shares=180)
    assert min(tall, wide) >= 28
    assert tall * wide // 28**2 <= 32
    assert (tall >= wide) == (height >= width)


def test_mixed_merges_share_one_budget() -> None:
    rules = VisualRules(max_tokens=1000, image_merge=1, video_merge=2)
    media = [Medium("image", 1000, 1000), Medium("video", 720, 1280, 9)]
    image, video = count_visual_tokens(media, rules)
    assert 80 <= image <= 100
    assert 9 * 80 <= video <= 9 * 100
    alone = count_visual_tokens([Medium("image", 1000, 1000), *[Medium("image", 720, 1280)] * 9], rules)
    assert image == alone[0], "an image's share depends on how many share, not on what they are"


def test_small_media_leave_their_share_unused() -> None:
    rules = VisualRules(max_tokens=16384)
    assert count_visual_tokens([Medium("image", 140, 140), Medium("image", 9000, 9000)], rules) == [100, 90 * 90]


def test_frame_counts_follow_the_rate_and_the_limit() -> None:
    rules = VisualRules(fps=2, max_frames=100)
    assert [count_frames(seconds, rules) for seconds in (0.3, 0.5, 3.0, 3.4, 3.6, 500.0)] == [1, 1, 6, 6, 7, 100]


def test_digest_names_the_rules_in_every_process() -> None:
    rules = VisualRules(max_tokens=10240, image_merge=2)
    code = "from model.geometry import *; print(VisualRules(image_merge=2, max_tokens=10240).digest())"
    other = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert other.stdout.strip() == rules.digest()
    assert len({VisualRules().digest(), rules.digest(), VisualRules(threshold=0.2).digest()}) == 3


def test_impossible_rules_and_sizes_are_refused() -> None:
    with pytest.raises(ValueError, match="max_tokens is 0"):
        VisualRules(max_tokens=0)
    with pytest.raises(ValueError, match="threshold is -1"):
        VisualRules(threshold=-1)
    with pytest.raises(ValueError, match="found size 0 x 5"):
        smart_resize(0, 5, factor=14, max_tokens=100)
    with pytest.raises(ValueError, match="an image has 1 frame"):
        plan_grids([Medium("image", 10, 10, 2)], VisualRules())


def test_counting_loads_no_torch() -> None:
    code = "import sys, model.geometry, model.prune, model.frames, model.chat, model.tokenizer, model.visuals; "
    code += "assert not {'torch', 'transformers'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
