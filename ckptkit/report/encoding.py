"""What stands for a character that the encoding of a stream lacks: an error handler for codecs."""

from __future__ import annotations

import codecs
from typing import TextIO

#: The name of the handler, for ``errors=``.
SPELLED_OUT = "ckptkit-spelled-out"

_SPELLINGS = {"→": "->"}


def spell_out(error: UnicodeError) -> tuple[str, int]:
    """Arrows as people type them, and everything else as an escape: a question mark would hide which name it was.

    >>> "quark → ct, schicht.層".encode("ascii", SPELLED_OUT)
    b'quark -> ct, schicht.\\\\u5c64'
    """
    if not isinstance(error, UnicodeEncodeError):
        raise error
    missing = error.object[error.start : error.end]
    return "".join(_SPELLINGS.get(character) or ascii(character)[1:-1] for character in missing), error.end


codecs.register_error(SPELLED_OUT, spell_out)


def shown_as(stream: TextIO | None, text: str) -> str:
    """A text with what a stream cannot encode spelled out; for who prints past the stream's own way, as click does."""
    encoding = getattr(stream, "encoding", None) or "utf-8"
    return text.encode(encoding, SPELLED_OUT).decode(encoding)
