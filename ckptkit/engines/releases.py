"""Releases of engines and of libraries beside them: what was examined, how, and for which of them a fact holds."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import field
from enum import Enum
from typing import NamedTuple

from ckptkit.record import record

_VERSION = re.compile(r"[vb]?(\d+(?:\.\d+)*)(?:[.\-_]?(dev|a|b|rc)\.?(\d*))?(?:[.\-]?post(\d+))?(?:\+.*)?")
_STAGES = ("dev", "a", "b", "rc", "")
_DATE = re.compile(r"\d{4}-\d{2}(-\d{2})?")
#: The end of a range that is over, nobody wrote down when.
LONG_AGO = "long ago"


class Evidence(str, Enum):
    """How a fact is known, the best first: it was seen to happen here, read in the source, or reported."""

    RUN = "run"
    SOURCE = "source"
    REPORT = "reports"


class Version(NamedTuple):
    """A release number that can be compared: trailing zeros do not count, and a candidate comes before its release."""

    numbers: tuple[int, ...]
    stage: int
    serial: int
    post: int

    @classmethod
    def parse(cls, text: str) -> Version:
        """From text. Raises ValueError when it is no release number.

        >>> Version.parse("0.32") == Version.parse("0.32.0") < Version.parse("0.33")
        True
        >>> Version.parse("b8999") < Version.parse("b11312")
        True
        >>> Version.parse("1.3.0rc9") < Version.parse("1.3.0rc25") < Version.parse("1.3") < Version.parse("1.3.post1")
        True
        """
        found = _VERSION.fullmatch(text.strip())
        if found is None:
            raise ValueError(f"{text!r} is no release number")
        numbers = [int(number) for number in found[1].split(".")]
        while len(numbers) > 1 and not numbers[-1]:
            numbers.pop()
        return cls(tuple(numbers), _STAGES.index(found[2] or ""), int(found[3] or 0), int(found[4] or 0))


@record
class Release:
    """A release that was examined: its number (empty for a commit between two), date, commit, and how.

    ``covers`` names the tables ("outcomes", "skip lists", "support", "kernels") that were held against it, empty for
    all; ``bundles`` gives the release of a library that comes with it; ``after`` is, of a commit between two, the
    number of a release that came before it: what that has, it has.
    """

    version: str
    date: str
    commit: str = ""
    how: tuple[Evidence, ...] = (Evidence.SOURCE,)
    covers: tuple[str, ...] = ()
    bundles: Mapping[str, str] = field(default_factory=dict)
    after: str = ""

    def __str__(self) -> str:
        return self.version or f"main, {self.date}"

    @property
    def basis(self) -> str:
        """How it was examined, in words."""
        return " and ".join(evidence.value for evidence in self.how)


@record
class Range:
    """The releases from ``since`` on and before ``until``; an empty end is open. Ends are numbers, or dates.

    ``of`` names a library, if it is its release that counts and not the engine's own.
    """

    since: str = ""
    until: str = ""
    of: str = ""

    def holds(self, release: Release) -> bool:
        """Whether a release is among them; one whose number, or library, is not known is not.

        >>> Range(since="0.31", until="0.33").holds(Release("0.32.0", "2026-10-18"))
        True
        >>> Range(until="2026-08").holds(Release("", "2026-08-10"))
        False
        >>> between = Release("", "2026-08-10", after="1.2")
        >>> Range(since="1.0").holds(between), Range(since="1.3").holds(between), Range(until="1.3").holds(between)
        (True, False, False)
        """
        if self.until == LONG_AGO:
            return False
        return (not self.since or _reaches(release, self.since, self.of) is True) and (
            not self.until or _reaches(release, self.until, self.of) is False
        )

    def __str__(self) -> str:
        """
        >>> str(Range()), str(Range(since="0.33")), str(Range(until="0.13", of="torch"))
        ('any', 'since 0.33', 'with torch before 0.13')
        """
        if self.until == LONG_AGO:
            return "older releases"
        parts = [f"since {self.since}"] if self.since else []
        parts += [f"before {self.until}"] if self.until else []
        return f"{f'with {self.of} ' if self.of else ''}{' '.join(parts) or 'any'}"


def _reaches(release: Release, bound: str, library: str) -> bool | None:
    """Whether a release is a bound or later; None when that is not known."""
    if _DATE.fullmatch(bound):
        return release.date >= bound if release.date and not library else None
    version = release.bundles.get(library, "") if library else release.version
    try:
        if not version and not library:
            return True if Version.parse(release.after) >= Version.parse(bound) else None
        return Version.parse(version) >= Version.parse(bound)
    except ValueError:
        return None


#: Every release, whatever was examined: what cannot be otherwise.
ALWAYS = Range()
