"""Asks a server for a file or the rest of it, and gives what it sends; whatever a server does ends, and in a sentence.

Nothing here is trusted: the bytes are checked by their digest, elsewhere.
"""

from __future__ import annotations

import contextlib
import re
import time
from collections.abc import Iterator
from typing import Any
from urllib.parse import urljoin

OK = 200
_PARTIAL = 206
_TIMEOUT = (10, 30)  # seconds to connect, and between two pieces of an answer
_PIECE = 1 << 16
_MOST_REDIRECTS = 10
_MINUTE = 60.0
_LEAST = 60_000
"""The bytes that must come in each `_MINUTE` seconds. Otherwise a server that drips could hold us for ever."""
_LONGEST_REASON = 100


class DownloadError(Exception):
    """A server cannot be reached, refuses, or breaks off; the message says why, as the end of a sentence."""


@contextlib.contextmanager
def ask(url: str, done: int) -> Iterator[Any]:
    """A context with the server's answer, of which no body has been read; with `done` bytes, for what follows them.

    Raises DownloadError, also for what goes wrong inside while the answer is read.
    """
    import requests
    import urllib3

    # A range of a compressed answer would count compressed bytes.
    headers = {"Accept-Encoding": "identity", **({"Range": f"bytes={done}-"} if done else {})}
    try:
        session: Any = requests.Session()
        with session:
            # requests reads the whole body of an answer that only names another address, however long it is.
            session.get_redirect_target = lambda _response: None
            for _ in range(_MOST_REDIRECTS + 1):
                with session.get(url, headers=headers, stream=True, timeout=_TIMEOUT) as response:
                    if response.is_redirect:
                        url = _joined(url, response.headers["Location"])
                        continue
                    if not (done and response.status_code == requests.codes.requested_range_not_satisfiable):
                        response.raise_for_status()
                    if response.status_code == _PARTIAL and not done and not goes_on(response, 0):
                        raise DownloadError("the server sends a part that it was not asked for")
                    yield response
                    return
        raise DownloadError(f"the server names another address {_MOST_REDIRECTS} times and more")
    except (requests.RequestException, urllib3.exceptions.HTTPError, UnicodeError) as error:
        raise DownloadError(_reason(error)) from error


def _joined(url: str, location: str) -> str:
    try:
        return urljoin(url, location)
    except ValueError as error:
        raise DownloadError(f"the server names an address that is none: {location[:_LONGEST_REASON]}") from error


def goes_on(response: Any, done: int) -> bool:
    """Returns whether an answer is the rest of a file after its first `done` bytes, as the bytes that they are."""
    begins = re.match(r"bytes (\d{1,18})-", response.headers.get("Content-Range", ""))
    is_plain = response.headers.get("Content-Encoding", "identity") == "identity"
    return response.status_code == _PARTIAL and is_plain and begins is not None and int(begins[1]) == done


def pieces(response: Any) -> Iterator[bytes]:
    """Yields the body of an answer as it comes. Raises DownloadError where it comes too slowly."""
    raw, began, received = response.raw, time.monotonic(), 0
    # `read` would wait for the whole of a piece, and lose what has come of it where the connection breaks.
    read = raw.read1 if hasattr(raw, "read1") else raw.read
    while piece := _next(read):
        yield piece
        received += len(piece)
        if (now := time.monotonic()) - began > _MINUTE:
            if received < _LEAST:
                raise DownloadError("the server sends hardly anything")
            began, received = now, 0


def _next(read: Any) -> bytes:
    try:
        piece: bytes = read(_PIECE, decode_content=True)
    except ValueError as error:  # a piece that is said to have -5 bytes
        raise DownloadError("the server sends what cannot be read") from error
    return piece


def _reason(error: Any) -> str:
    """Returns the message of the server or the operating system, without the libraries' errors around it."""
    import requests
    import urllib3

    if (response := getattr(error, "response", None)) is not None:
        wait = response.headers.get("Retry-After", "")
        asked = f" and asks to wait for {int(wait):,} seconds" if re.fullmatch("[0-9]{1,6}", wait) else ""
        return f"the server answers {response.status_code} {str(response.reason)[:_LONGEST_REASON]}{asked}"
    if isinstance(error, (requests.Timeout, urllib3.exceptions.TimeoutError)):
        return "the server does not answer in time"
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, OSError) and cause.errno is not None and cause.strerror:
            return cause.strerror
        cause = cause.__cause__ or cause.__context__
    if isinstance(error, urllib3.exceptions.DecodeError):
        return "the server sends what cannot be unpacked"
    broken = (requests.ConnectionError, requests.exceptions.ChunkedEncodingError, urllib3.exceptions.ProtocolError)
    return "the connection broke off" if isinstance(error, broken) else str(error)[: 3 * _LONGEST_REASON]
