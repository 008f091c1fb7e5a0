"""Rotary tables against angles written out one patch at a time, and merging against bilinear interpolation."""

from __future__ import annotations

import math

import pytest
import torch
from torch.nn.functional import interpolate

from model.merge import merge_squares
from model.rope import axial_tables, media_coordinates, patch_coordinates, rotate, sequence_tables


def test_patches_follow_merge_windows() -> None:
    assert patch_coordinates(2, 3, 1).tolist() == [[0, 0], [0, 1], [0, 2], [1, 0], [1, 1], [1, 2]]
    order = [(0, 0), (0, 1), (1, 0), (1, 1), (0, 2), (0, 3), (1, 2), (1, 3), (2, 0)]
    assert [tuple(cell) for cell in patch_coordinates(4, 4, 2).tolist()][:9] == order


def test_every_frame_has_the_same_coordinates() -> None:
    media = [((2, 2, 4), 2), ((1, 1, 3), 1)]
    one = patch_coordinates(2, 4, 2)
    assert torch.equal(media_coordinates(media), torch.cat([one, one, patch_coordinates(1, 3, 1)]))
    assert media_coordinates([]).shape == (0, 2)


def test_a_patch_is_turned_by_its_row_and_its_column() -> None:
    width, row, column = 24, 5, 11
    x = torch.randn(1, 2, width)
    found = rotate(x, axial_tables(torch.tensor([[row, column]]), width=width, theta=10000.0))
    for index in range(width // 2):
        place = row if index < width // 4 else column
        angle = place * 10000.0 ** (-2 * (index % (width // 4)) / (width // 2))
        for head in range(2):
            a, b = x[0, head, index].item(), x[0, head, index + width // 2].item()
            turned = (a * math.cos(angle) - b * math.sin(angle), b * math.cos(angle) + a * math.sin(angle))
            assert found[0, head, [index, index + width // 2]].tolist() == pytest.approx(turned, abs=1e-5)


def test_a_token_is_turned_by_its_position() -> None:
    width, position = 8, 1000
    x = torch.randn(1, 1, width)
    tables = sequence_tables(torch.tensor([position]), width=width, theta=1e6, dtype=torch.float32)
    angles = [position * 1e6 ** (-2 * index / width) for index in range(width // 2)]
    numbers = torch.complex(x[0, 0, : width // 2], x[0, 0, width // 2 :]) * torch.polar(
        torch.ones(width // 2), torch.tensor(angles)
    )
    torch.testing.assert_close(rotate(x, tables)[0, 0], torch.cat([numbers.real, numbers.imag]), atol=1e-4, rtol=1e-4)


def test_patches_in_16_bits_are_turned_in_32() -> None:
    x = torch.randn(6, 2, 16).bfloat16()
    tables = axial_tables(patch_coordinates(2, 3, 1) * 50, width=16, theta=10000.0)
    assert torch.equal(rotate(x, tables), rotate(x.float(), tables).bfloat16())


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("merge", [1, 2, 3, 4, 5])
def test_merging_equals_bilinear_downsampling(merge: int, dtype: torch.dtype) -> None:
    rows, columns, width = 2 * merge, 3 * merge, 5
    frame = torch.randn(rows, columns, width).to(dtype)
    patches = frame.view(2, merge, 3, merge, width).transpose(1, 2).reshape(-1, width)
    reference = interpolate(frame.permute(2, 0, 1)[None], size=(2, 3), mode="bilinear")[0].flatten(1).T
    found = merge_squares(patches, lengths=[len(patches)], merges=[merge])
    torch.testing.assert_close(found, reference, atol=1e-6 if dtype == torch.float32 else 1e-2, rtol=1e-2)


def test_merging_keeps_the_order_of_media() -> None:
    features = torch.arange(4 + 8 + 3 + 4.0)[:, None]
    found = merge_squares(features, lengths=[4, 8, 3, 4], merges=[2, 2, 1, 2])
    assert found[:, 0].tolist() == [1.5, 5.5, 9.5, 12, 13, 14, 16.5]
