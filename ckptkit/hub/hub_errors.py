"""What the hub library raises, in our words: what failed, and what to do next, without addresses or tokens."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from ckptkit.errors import CkptkitError, RemoteError, printable
from ckptkit.storage.hub_http import CHECK_NETWORK, GO_ONLINE, OFFLINE, UNREACHABLE, transport_error

#: Status of an answer -> (what it means for a writer, what to do).
_MEANING = {
    400: ("the Hub does not accept the request", None),
    401: ("you are not logged in, or the token is not valid", "run 'hf auth login'"),
    403: ("your token may not do this", "use a token with write access to this repository: 'hf auth login'"),
    404: ("no such repository or revision", "check the name and the revision"),
    409: ("somebody else is changing the repository", "try again"),
    413: ("a file is too large for the Hub", "export smaller shards"),
    429: ("the Hub limits the rate of requests", "try again in a few minutes"),
}


@contextmanager
def translated(what: str) -> Iterator[None]:
    """Turn any failure of the hub library inside the block into a RemoteError that begins with ``what``."""
    try:
        yield
    except CkptkitError:
        raise
    except Exception as error:  # what a server sends may end in any exception of the library
        # An upload that fails in a worker is wrapped in a RuntimeError, which names the file.
        cause = error.__cause__ if isinstance(error, RuntimeError) else None
        raise _in_our_words(what, cause or error) from None


def _in_our_words(what: str, error: BaseException) -> RemoteError:
    from huggingface_hub.errors import HfHubHTTPError, OfflineModeIsEnabled

    if isinstance(error, OfflineModeIsEnabled):
        return RemoteError(f"{what}: {OFFLINE}", help=GO_ONLINE)
    if isinstance(error, HfHubHTTPError):
        status = error.response.status_code
        meaning, help_text = _MEANING.get(status, (f"the Hub fails (status {status})", "try again later"))
        said = (error.server_message or "").splitlines()
        return RemoteError(f"{what}: {meaning}" + (f" ({printable(said[0][:200])})" if said else ""), help=help_text)
    if isinstance(error, ValueError):
        # The hub library judging an argument or a model card; it does not name addresses there.
        return RemoteError(f"{what}: {' '.join(str(error).split())[:300]}")
    if isinstance(error, (transport_error(), ConnectionError, TimeoutError)):
        return RemoteError(f"{what}: {UNREACHABLE} ({type(error).__name__})", help=CHECK_NETWORK)
    if isinstance(error, OSError) and error.filename is not None:
        return RemoteError(f"{what}: {error.filename} cannot be read: {error.strerror}")
    return RemoteError(f"{what}: {type(error).__name__}", help=CHECK_NETWORK)
