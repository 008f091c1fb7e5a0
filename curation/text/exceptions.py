"""Exceptions: chunks of English that the affix rules would cut wrongly, and how they are cut instead.

Built from what they have in common: subjects with clitics ("they've"), auxiliaries with "not" ("couldn't've"), with either apostrophe
or none; clock times; abbreviations that keep their full stop; emoticons. The inventory follows spaCy's English tokenizer, to which the
published rules were tuned.
"""

from collections.abc import Iterator
from itertools import product

APOSTROPHES = ("'", "’")

_SUBJECTS = {  # clitics that follow it
    "i": "m ma ll ll've ve d d've",
    "you we they": "re ll ll've ve d d've",
    "he she it": "s ll ll've d d've",
    "that this": "s ll ll've d d've",
    "these those": "re ll ll've ve d d've",
    "who what when where why how there": "s re ll ll've ve d d've",
}
_AUXILIARIES = "ai are ca could dare did do does had has have is may might must need ought sha should was were wo would"
_TAKE_HAVE = "could might must should would not"
_NOT_HAVE = "ca could did do does had may might must need ought sha should wo would"
# Without an apostrophe these are other words.
_OTHER_WORDS = {"ill", "its", "hell", "shell", "shed", "were", "well", "whore"}

_STOPS = """Adm. Ak. Ala. Apr. Ariz. Ark. Aug. Bros. Calif. Co. Colo. Conn. Corp. D.C. Dec. Del. Dr. E.G. E.g. Feb. Fla. Ga.
    Gen. Gov. I.E. I.e. Ia. Id. Ill. Inc. Ind. Jan. Jr. Jul. Jun. Kan. Kans. Ky. La. Ltd. Mar. Mass. Md. Messrs. Mich. Minn. Miss.
    Mo. Mont. Mr. Mrs. Ms. Mt. N.C. N.D. N.H. N.J. N.M. N.Y. Neb. Nebr. Nev. Nov. Oct. Okla. Ore. Pa. Ph.D. Prof. Rep. Rev. S.C.
    Sen. Sep. Sept. St. Tenn. Va. Wash. Wis. a.m. co. e.g. i.e. p.m. v.s. vs. ä. ö. ü."""
_WHOLE = """C++ and/or w/o ma'am Ma'am o'clock O'clock ol Ol ol' Ol' 'S 's 'd 'll 're 'em 'nuff '' ' — em ll nuff \\") \\n \\t
    <space> doin Doin goin Goin havin Havin lovin Lovin nothin Nothin nuthin Nuthin somethin Somethin"""
_EMOTICONS = r""":) :-) :)) :-)) :))) :-))) (: (-: =) (= :] :-] [: [-: [= =] :o) (o: :} :-} 8) 8-) (-8 ;) ;-) (; (-; :( :-( :(( :-((
    :((( :-((( ): )-: =( >:( :') :'-) :'( :'-( :/ :-/ =/ =| :| :-| ]= :1 :P :-P :p :-p :O :-O :o :-o :0 :-0 :() >:o :* :-* :3 :-3
    =3 :> :-> :X :-X :x :-x :D :-D ;D ;-D =D xD XD xDD XDD 8D 8-D ^_^ ^__^ ^___^ >.< >.> <.< ._. ;_; -_- -__- v.v V.V v_v V_V o_o
    o_O O_o O_O 0_o o_0 0_0 o.O O.o O.O o.o 0.0 o.0 0.o @_@ <3 <33 <333 </3 (^_^) (-_-) (._.) (>_<) (*_*)"""


def exceptions() -> dict[str, tuple[str, ...]]:
    """Chunks and their words, in order; joined they are the chunk."""
    words = [*_contractions(), *_clock_times(), *_wholes()]
    return {"".join(parts): parts for parts in words}


def _contractions() -> Iterator[tuple[str, ...]]:
    for subjects, clitics in _SUBJECTS.items():
        for subject, clitic in product(subjects.split(), clitics.split()):
            pieces = ["m", "a"] if clitic == "ma" else clitic.split("'")
            for apostrophe in ("", *APOSTROPHES):
                if apostrophe or subject + "".join(pieces) not in _OTHER_WORDS:
                    yield from _cased(subject, _with(apostrophe, pieces, keep_last=clitic == "ma"))
    for verb in _AUXILIARIES.split():
        for nots in ("nt", "n't", "n’t"):
            yield from _cased(verb, [nots])
            if verb in _NOT_HAVE.split():
                yield from _cased(verb, [nots, nots[1:-1] + "ve"])
    for verb, apostrophe in product(_TAKE_HAVE.split(), ("", *APOSTROPHES)):
        yield from _cased(verb, [apostrophe + "ve"])
    for apostrophe in APOSTROPHES:
        yield from _cased("let", [apostrophe + "s"])
        yield from _cased("how", [apostrophe + "d", apostrophe + "y"])
        yield from _cased(f"c{apostrophe}m", ["on"])
        yield f"y{apostrophe}", "all"
    yield "y", "all"
    for first, second in (("can", "not"), ("gon", "na"), ("got", "ta")):
        yield from _cased(first, [second])


def _with(apostrophe: str, pieces: list[str], *, keep_last: bool) -> list[str]:
    """Every clitic with its apostrophe; of "I'm a" only the first has one."""
    return [piece if keep_last and i else apostrophe + piece for i, piece in enumerate(pieces)]


def _cased(first: str, rest: list[str]) -> Iterator[tuple[str, ...]]:
    yield (first, *rest)
    yield (first.capitalize(), *rest)


def _clock_times() -> Iterator[tuple[str, ...]]:
    for hour, half in product(range(1, 13), ("am", "a.m.", "pm", "p.m.")):
        yield str(hour), half
    for unit in "CFKcfk":
        yield "°", unit, "."


def _wholes() -> Iterator[tuple[str]]:
    single = [f"{letter}." for letter in "abcdefghijklmnopqrstuvwxyz"]
    clipped = [start + word for start in APOSTROPHES for word in ("cause", "cos", "coz", "cuz", "bout")]
    dropped = [f"{word}in{end}" for word in ("do", "go", "hav", "lov", "noth", "nuth", "someth") for end in APOSTROPHES]
    words = [*_STOPS.split(), *_WHOLE.split(), *single, *clipped, *dropped, *_EMOTICONS.split()]
    words += [word[0] + word[1:].capitalize() for word in clipped if not word.endswith("bout")]
    words += [word.capitalize() for word in dropped]
    for word in words:
        yield (word,)
        if "'" in word:
            yield (word.replace("'", "’"),)
