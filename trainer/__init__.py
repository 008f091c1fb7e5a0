"""Trainer: VideoLLaMA3 in four stages, straight from curated shards. Importing this package loads no torch.

    dataset -> plan (mixture, shuffle, packing, dealing) -> loader -> train (step) -> checkpoint -> model

The plan is a pure function of (shard indexes, stage, seed, epoch), so the whole state of the data is {plan digest,
epoch, step}.
"""
