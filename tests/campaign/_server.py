"""A server on the loopback that answers downloads as a seed says: rightly, wrongly, partly, for ever, or not at all."""

from __future__ import annotations

import contextlib
import gzip
import re
import socket
import struct
import threading
import time
from random import Random

HUNG = 5.0
"""The seconds for which the server goes on with what never ends."""
_KINDS = [
    "right", "right", "right", "right", "cut", "cut", "cut", "reset", "mute", "wrong", "short", "long", "longer length",
    "shorter length", "no length", "no ranges", "other range", "no content range", "wild range", "part unasked", "416",
    "loop", "file", "elsewhere", "wild place", "endless redirect", "503", "429", "404", "204", "304", "300", "drip",
    "drip head", "silent", "endless", "gzip", "bad gzip", "bomb", "html", "huge headers", "many headers", "no http",
    "chunked", "bad chunks", "endless chunks", "changed", "wild reason", "1xx",
]  # fmt: skip


class Server:
    """Serves `content`, each answer in another way drawn from `random`, until `close`."""

    def __init__(self, content: bytes) -> None:
        self.content = content
        self.random = Random(0)
        self.kinds: list[str] = []
        """How the next requests are answered; then all are answered rightly."""
        self.served: list[str] = []
        self._listening = socket.create_server(("127.0.0.1", 0), backlog=64)
        self.url = f"http://127.0.0.1:{self._listening.getsockname()[1]}/tiny.txt"
        self._threads: list[threading.Thread] = []
        self._is_closed = threading.Event()
        threading.Thread(target=self._listen, daemon=True).start()

    def draw(self, random: Random) -> None:
        """Draws how the next requests are answered."""
        self.random, self.served = random, []
        self.kinds = random.choices(_KINDS, k=random.randrange(1, 5))

    def _listen(self) -> None:
        while True:
            try:
                connection, _ = self._listening.accept()
            except OSError:
                return
            threading.Thread(target=self._answer, args=(connection,), daemon=True).start()

    def _answer(self, connection: socket.socket) -> None:
        with connection, contextlib.suppress(OSError):
            connection.settimeout(HUNG)
            asked = b""
            while b"\r\n\r\n" not in asked:
                if not (more := connection.recv(4096)):
                    return
                asked += more
            kind = self.kinds.pop(0) if self.kinds else "right"
            self.served.append(kind)
            wanted = re.search(rb"(?i)\r\nrange: bytes=(\d+)-", asked)
            self._send(connection, kind, int(wanted[1]) if wanted else None)

    def _send(self, connection: socket.socket, kind: str, start: int | None) -> None:
        random, content = self.random, self.content
        if kind in ("wrong", "changed"):
            content = random.randbytes(len(content)) if kind == "wrong" else content[:-9] + b"another!!"
        content = {
            "short": content[: random.randrange(len(content))],
            "long": content + b"more" * 9,
            "html": b"<html>no</html>",
        }.get(kind, content)
        status, head, body = "200 OK", dict[str, str](), content
        if start is not None and kind not in ("no ranges", "html"):
            status, body = ("206 Partial", content[start:]) if start < len(content) else ("416 No", b"")
            head["Content-Range"] = f"bytes {start}-{len(content) - 1}/{len(content)}"
        head["Content-Length"] = str(len(body))
        cut = random.randrange(len(body) + 1)
        match kind:
            case "cut" | "reset" | "drip" | "silent":
                sent = body[:cut]
                self._put(connection, status, head, sent)
                if kind == "reset":
                    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                elif kind == "silent":
                    time.sleep(1.0)
                elif kind == "drip":
                    for place in range(cut, min(len(body), cut + int(HUNG / 0.05))):
                        connection.sendall(body[place : place + 1])
                        time.sleep(0.05)
                return
            case "mute":
                return
            case "longer length" | "shorter length":
                head["Content-Length"] = str(
                    max(0, len(body) + random.choice([1, 9999]) * (1 if kind[0] == "l" else -1))
                )
            case "no length":
                del head["Content-Length"]
            case "other range":
                status, head["Content-Range"] = (
                    "206 Partial",
                    f"bytes {random.randrange(9999)}-{len(content)}/{len(content)}",
                )
            case "no content range":
                head.pop("Content-Range", None)
            case "wild range":
                head["Content-Range"] = random.choice(
                    ["bytes */*", "bytes -5-", "x" * 9999, "bytes 9" + "9" * 5000 + "-", "lines 0-1/2"]
                )
            case "part unasked":
                status, head["Content-Range"], body = "206 Partial", "bytes 100-200/300", body[100:200]
                head["Content-Length"] = str(len(body))
            case "416":
                status = "416 Range Not Satisfiable"
            case "loop" | "file" | "elsewhere" | "wild place" | "endless redirect":
                status = random.choice(["301 M", "302 M", "307 M", "308 M"])
                wild = [
                    "http://[::1",
                    "http://",
                    "//",
                    "http://\u00ff:99999/",
                    "http://a b/",
                    "http://127.0.0.1:0/",
                    "x" * 60_000,
                ]
                head["Location"] = {
                    "file": "file:///etc/passwd",
                    "elsewhere": random.choice(["ftp://127.0.0.1/x", "gopher://x", "data:,x"]),
                    "wild place": random.choice(wild),
                }.get(kind, self.url)  # fmt: skip
                if kind == "loop":
                    self.kinds[:0] = ["loop"] * (random.random() < 0.9)
                if kind == "endless redirect":
                    del head["Content-Length"]
                    self._put(connection, status, head, b"")
                    self._for_ever(connection, b"x" * 65536, 0)
                    return
            case "503" | "429" | "404" | "204" | "304" | "300":
                status = f"{kind} Said"
                head["Retry-After"] = random.choice(
                    ["120", "-1", "9" * 999, "Wed, 21 Oct 2026 07:28:00 GMT", "\x1b[7777m"]
                )
                if kind in ("204", "304"):
                    body = b""
            case "drip head":
                connection.sendall(b"HTTP/1.1 200 OK\r\nX: ")
                self._for_ever(connection, b"x" * 20_000, 0.02)
                return
            case "endless" | "endless chunks":
                del head["Content-Length"]
                if kind == "endless":
                    self._put(connection, status, head, b"")
                    self._for_ever(connection, content, 0)
                    return
                self._put(connection, status, head | {"Transfer-Encoding": "chunked"}, b"")
                self._for_ever(connection, b"40\r\n" + b"?" * 64 + b"\r\n", 0)
                return
            case "gzip" | "bad gzip" | "bomb":
                packed = gzip.compress(b"0" * 3_000_000, 1) if kind == "bomb" else gzip.compress(content)
                body = (packed if kind != "bad gzip" else packed[:20] + b"?" * 40)[start or 0 :]
                head |= {"Content-Encoding": "gzip", "Content-Length": str(len(body))}
            case "huge headers" | "many headers":
                head |= {"X": "x" * 2_000_000} if kind[0] == "h" else {f"X{number}": "x" for number in range(3000)}
            case "no http":
                connection.sendall(
                    random.choice(
                        [
                            b"\x16\x03\x01\x02\x00\x01",
                            b"\xff" * 500,
                            b"HTTP/9.9 abc\r\n\r\n",
                            b"\r\n" * 9,
                            b"HTTP/1.1 -1 x\r\n\r\n",
                        ]
                    )
                )
                return
            case "chunked" | "bad chunks":
                del head["Content-Length"]
                head["Transfer-Encoding"] = "chunked"
                size = (
                    random.choice([b"zz", b"-5", b"ffffffffffffffffff", b""])
                    if kind == "bad chunks"
                    else f"{len(body) - cut:x}".encode()
                )
                body = (
                    f"{cut:x}\r\n".encode() * (cut > 0)
                    + body[:cut]
                    + b"\r\n" * (cut > 0)
                    + size
                    + b"\r\n"
                    + body[cut:]
                    + b"\r\n0\r\n\r\n"
                )
                if kind == "chunked" and cut == len(self.content[start or 0 :]):
                    body = body.replace(b"\r\n0\r\n\r\n0\r\n\r\n", b"\r\n0\r\n\r\n")
            case "wild reason":
                status = f"500 \x1b[7777m{'x' * 9000}"
            case "1xx":
                connection.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
        self._put(connection, status, head, body)

    def _put(self, connection: socket.socket, status: str, head: dict[str, str], body: bytes) -> None:
        lines = "".join(f"{name}: {value}\r\n" for name, value in head.items())
        connection.sendall(f"HTTP/1.1 {status}\r\n{lines}Connection: close\r\n\r\n".encode("latin-1", "replace") + body)

    def _for_ever(self, connection: socket.socket, what: bytes, pause: float) -> None:
        until = time.monotonic() + HUNG
        while time.monotonic() < until:
            connection.sendall(what)
            time.sleep(pause)
