"""Stages: the pixel rules of VideoLLaMA3's four training stages, shared by curation (which counts) and the trainer (which resizes).

Source: VideoLLaMA3, arXiv:2501.13106, section 3.3 and its released training scripts: 10,240 visual tokens per sample in training,
1 frame per second, at most 180 frames; images merge 1 and videos 2, both 2 in stage 4; pruning in stages 3 and 4.
"""

from model.geometry import VisualRules

STAGE_RULES = {
    "stage1": VisualRules(max_tokens=10240, image_merge=1, video_merge=2, prune=False),
    "stage2": VisualRules(max_tokens=10240, image_merge=1, video_merge=2, prune=False),
    "stage3": VisualRules(max_tokens=10240, image_merge=1, video_merge=2, prune=True),
    "stage4": VisualRules(max_tokens=10240, image_merge=2, video_merge=2, prune=True),
}
