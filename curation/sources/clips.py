"""Clips: a source over a source that cuts edited videos into their shots."""

import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import BinaryIO

from curation.media.excerpt import Way, cut_clip, excerpt_reference, key_times
from curation.media.read import open_reference
from curation.media.video import scan_video
from curation.operator import Part, PartLimits, Source
from curation.sample import BadSample, Media, Sample, SampleError, make_sample
from curation.sources.files import bad_sample


@dataclass(frozen=True, kw_only=True)
class Clips(Source):
    """One sample per shot of each video of `source`, with the turns of the whole.

    A shot is what lies between cuts, dissolves and fades (`curation.media.shots`); shots below `shortest` seconds are left
    out. Packets are copied, from the shot's first key frame on, where that loses at most `loss` seconds; encoders set a
    key frame at most cuts. Else the shot is encoded anew (H.264, fixed quantiser). Sound is left out. Nothing is stored:
    a reference names the stretch, and whoever reads it cuts it.

    A video of one shot passes as it is, and so does a sample that does not hold exactly one medium, a video, or whose
    turns carry times. Each video is decoded once to find its shots.

    Source: ours; Panda-70M, arXiv:2402.19479, cuts by PySceneDetect and captions shots of at least 2 s.
    """

    source: Source
    shortest: float = 2.0
    loss: float = 0.5

    def files(self) -> Sequence[str]:
        """The files of the source."""
        return self.source.files()

    def parts(self, limits: PartLimits) -> Sequence[Part]:
        """The parts of the source."""
        return self.source.parts(limits)

    @property
    def origin_source(self) -> str:
        """What origins call the source: shots keep it, and their locators name the shot."""
        return str(getattr(self.source, "origin_source", self.source.name))

    def read(self, part: Part) -> Iterator[Sample | BadSample]:
        """The shots of one part, in order of the source, then of time."""
        for item in self.source.read(part):
            if isinstance(item, BadSample) or not _is_plain_video(item):
                yield item
                continue
            try:
                yield from self._shots(item)
            except SampleError as error:
                yield bad_sample(item.origin, error, f"{item.origin.name}: {error}")

    def _shots(self, sample: Sample) -> Iterator[Sample]:
        (whole,) = sample.media
        if whole.reference is None:
            raise SampleError("a clip without a reference cannot be cut: its source must say where its bytes lie")
        data = open_reference(whole.reference) if whole.data is None else io.BytesIO(whole.data)
        scan = scan_video(data)
        if len(scan.look.shots) < 2:
            yield sample
            return
        keys = key_times(data)
        frame = scan.duration / scan.frames
        for number, (begin, end) in enumerate(scan.look.shots):
            if end - begin + frame >= self.shortest:
                way = self._way(keys, begin, end)
                yield _excerpt(sample, data, number, begin=round(begin * 1000), end=round(end * 1000), way=way)

    def _way(self, keys: Sequence[float], begin: float, end: float) -> Way:
        first = next((key for key in keys if key >= begin - 0.001), end)
        copied = first - begin <= self.loss and end - first >= self.shortest - self.loss
        return "copy" if copied else "encode"


def _is_plain_video(sample: Sample) -> bool:
    one = len(sample.media) == 1 and sample.media[0].kind == "video"
    return one and all(turn.time is None for turn in sample.turns)


def _excerpt(sample: Sample, data: BinaryIO, number: int, *, begin: int, end: int, way: Way) -> Sample:
    """The sample of one shot; its bytes ride along for whoever looks at it next."""
    (whole,) = sample.media
    clip = cut_clip(data, begin=begin, end=end, way=way)
    assert whole.reference is not None
    place = whole.reference if whole.reference.size else replace(whole.reference, size=data.seek(0, io.SEEK_END))
    reference = excerpt_reference(place, begin=begin, end=end, way=way, size=len(clip))
    origin = replace(
        sample.origin,
        locator=f"{sample.origin.locator}/shot{number:03d}",
        name=f"{sample.origin.name}/shot{number:03d}",
    )
    return make_sample(origin, sample.turns, [Media(kind="video", reference=reference, data=clip)])
