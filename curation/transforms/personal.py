"""Personal data: addresses, numbers and keys that name a person or open a door, masked in all turns."""

import ipaddress
import re
from collections.abc import Callable
from dataclasses import dataclass, replace

from curation.operator import Transform
from curation.sample import Sample

# Bounded repetitions everywhere: no input makes these take more than linear time.
_EMAIL = re.compile(
    r"(?<![\w.+-])[A-Za-z0-9][\w.+%-]{0,63}@(?:[A-Za-z0-9](?:[A-Za-z0-9-]{0,62})\.){1,8}[A-Za-z]{2,24}(?![\w-])",
    re.ASCII,
)
_IPV4 = re.compile(r"(?<![\w.])(?:\d{1,3}\.){3}\d{1,3}(?![\w]|\.\d)", re.ASCII)
_IPV6 = re.compile(r"(?<![\w:])(?:[0-9A-Fa-f]{0,4}:){2,7}[0-9A-Fa-f]{1,4}(?![\w:])", re.ASCII)
_PHONE = re.compile(
    r"(?<![\w+.,/#=-])(?:\+\d{1,3}[ .-]?(?:\(\d{1,4}\)[ .-]?)?(?:\d{2,4}[ .-]?){2,4}\d{2,4}"
    r"|(?:1[ .-])?\(\d{3}\) ?\d{3}[ .-]\d{4}|(?:1[ .-])?\d{3}([ .-])\d{3}\1\d{4})(?![\w]|[.,-]\d)",
    re.ASCII,
)
_KEY = re.compile(
    r"-----BEGIN [A-Z ]{0,32}PRIVATE KEY-----(?:(?!-----)[\s\S]){0,16384}-----END [A-Z ]{0,32}PRIVATE KEY-----"
    r"|(?<![\w-])(?:AKIA[0-9A-Z]{16}|ASIA[0-9A-Z]{16}|gh[pousr]_[A-Za-z0-9]{36,255}|github_pat_\w{22,255}|glpat-[\w-]{20,64}"
    r"|xox[abprs]-[\w-]{10,255}|sk-(?:[A-Za-z]+-)?[\w-]{20,255}|hf_[A-Za-z0-9]{30,64}|AIza[\w-]{35}|[rs]k_live_[A-Za-z0-9]{16,255}"
    r"|eyJ[\w-]{8,2048}\.eyJ[\w-]{8,4096}\.[\w-]{8,1024})(?![\w-])",
    re.ASCII,
)


@dataclass(frozen=True, kw_only=True)
class MaskPersonalData(Transform):
    """Puts marks in place of e-mail addresses, IP addresses, phone numbers and secret keys, in all turns.

    e-mail: any address; IP: public addresses, IPv4 and IPv6 (private, loopback and documentation ranges, and version numbers such as
    1.2.3.4 after a letter, stay); phone: international numbers with "+", and North American ones with their separators; keys: private
    keys in PEM, tokens of AWS, GitHub, GitLab, Slack, OpenAI, Hugging Face, Google and Stripe by their prefixes, JSON web tokens.
    An empty mark leaves that kind alone. Running it again changes nothing. Names, postal addresses and other numbers stay.

    Source: FineWeb, arXiv:2406.17557 (e-mail and public IP addresses); phones and keys are ours.
    """

    email: str = "[EMAIL]"
    ip: str = "[IP]"
    phone: str = "[PHONE]"
    key: str = "[KEY]"

    def rewrite(self, sample: Sample) -> Sample:
        """The sample with marks."""
        return replace(sample, turns=tuple(replace(turn, text=self.mask(turn.text)) for turn in sample.turns))

    def mask(self, text: str) -> str:
        """One text with marks."""
        if self.key:
            text = _KEY.sub(lambda _: self.key, text)
        if self.email and "@" in text:
            text = _EMAIL.sub(lambda _: self.email, text)
        if self.ip:
            text = _IPV4.sub(_if(_is_public, self.ip), text)
            text = _IPV6.sub(_if(_is_public, self.ip), text)
        if self.phone:
            text = _PHONE.sub(_if(_has_digits, self.phone), text)
        return text


def _if(holds: Callable[[str], bool], mark: str) -> Callable[[re.Match[str]], str]:
    return lambda match: mark if holds(match[0]) else match[0]


def _is_public(address: str) -> bool:
    try:
        return ipaddress.ip_address(address).is_global
    except ValueError:
        return False


def _has_digits(number: str) -> bool:
    return 8 <= sum(character.isdigit() for character in number) <= 15
