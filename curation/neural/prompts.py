"""Prompts: what a captioner is asked, as named values; their text is part of a caption's identity."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Prompt:
    """A question to a captioner about one or more media.

    text: what the captioner is asked; `{text}` in it is filled with the words the sample has, `{region}` with a box.
    max_tokens: an answer is cut there. asks: what the training sample asks beside its media; "" leaves only the media, as
    VideoLLaMA3's caption samples do.
    """

    name: str
    text: str
    max_tokens: int = 256
    asks: str = ""

    def fill(self, **words: str) -> str:
        """The question with `{text}` and `{region}` filled in; braces in the words stay as they are."""
        question = self.text
        for name, value in words.items():
            question = question.replace(f"{{{name}}}", value)
        return question


# The paper names what was asked for (short, detailed, reading order, regions, dense video) and discloses no wording
# (VideoLLaMA3, arXiv:2501.13106, 2.3 and 3.2): the wording is ours.
BRIEF = Prompt(name="brief", text="Describe the image in one short sentence.", max_tokens=64)
DETAILED = Prompt(
    name="detailed",
    text="Describe the image in detail: what there is, how many, their colours, where they stand to each other, any text that can be read.",
    max_tokens=512,
    asks="Describe the image in detail.",
)
GUIDED = Prompt(
    name="guided",
    text=(
        "These annotations belong to the image: {text}\n"
        "Describe the image in detail. Use them where they are right, and do not mention them."
    ),
    max_tokens=512,
    asks="Describe the image in detail.",
)
READING = Prompt(
    name="reading",
    text="Describe the image in one sentence, then write down all text in it, from left to right and from top to bottom.",
    max_tokens=1024,
    asks="Read the text in the image.",
)
REGION = Prompt(
    name="region",
    text="Describe what is inside the box {region} of the image in one sentence.",
    max_tokens=96,
    asks="Describe the region {region}.",
)
CLIP = Prompt(
    name="clip",
    text="Describe the video in detail: what happens, in which order, who moves which way, and what changes.",
    max_tokens=512,
    asks="Describe the video.",
)
QUESTIONS = Prompt(
    name="questions",
    text=(
        "This describes what is seen: {text}\nWrite three questions about it that can be answered from what is seen, each with its "
        "answer, one pair per line, in the form: Q: question A: answer"
    ),
    max_tokens=384,
)
PICTURE = Prompt(
    name="picture", text="Describe the picture.", max_tokens=96
)  # what the captioner that comes along is taught
