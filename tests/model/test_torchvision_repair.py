"""Torchvision and transformers' models can be imported, whatever torchvision was built for."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

CODE = """
from model.torchvision_repair import repair_torchvision
repair_torchvision()
import torchvision
repair_torchvision()
import sys
assert sys.modules["torchvision"] is torchvision, "repaired twice"
import torch
from torchvision.transforms.v2.functional import resize
assert resize(torch.zeros(3, 8, 8), [4, 4]).shape == (3, 4, 4)
from transformers import SiglipVisionModel, VideoLlama3VideoProcessor
VideoLlama3VideoProcessor()
"""


@pytest.mark.slow
def test_imports_work_after_the_repair_and_a_second_one_changes_nothing() -> None:
    root = Path(__file__).parents[2]
    command = [sys.executable, "-W", "error", "-c", CODE]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
