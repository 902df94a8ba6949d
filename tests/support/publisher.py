"""A server on this machine that plays a publisher of files, with the faults that one can have."""

from __future__ import annotations

import os
import socket
import struct
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

DATE = "Tue, 06 Nov 2007 12:00:00 GMT"


@dataclass
class Publisher:
    """What is served, and how badly."""

    files: dict[str, bytes]
    base: str = ""
    ranges: bool = True
    #: byte of the file after which an answer ends, one an answer
    cuts: list[int] = field(default_factory=list)
    #: status codes that are answered first
    faults: list[int] = field(default_factory=list)
    date: str = DATE
    #: whether the size is told, and how many bytes too many it is
    tells_size: bool = True
    too_many: int = 0
    #: how an answer ends at a cut: "close", "reset", or nothing comes any more ("stall")
    ending: str = "close"
    #: path -> where it is now
    moved: dict[str, str] = field(default_factory=dict)
    #: headers that every answer has
    headers: dict[str, str] = field(default_factory=dict)
    asked: list[tuple[str, str]] = field(default_factory=list)  # path, Range

    def url(self, name: str) -> str:
        return f"{self.base}/{name}"

    def answer(self, request: BaseHTTPRequestHandler) -> None:
        wanted = request.headers.get("Range", "")
        self.asked.append((request.path, wanted))
        name = request.path.rpartition("/")[2]
        if request.path in self.moved:
            request.send_response(302)
            request.send_header("Location", self.moved[request.path])
            request.end_headers()
            return
        if self.faults or name not in self.files:
            request.send_error(self.faults.pop(0) if self.faults else 404)
            return
        content = self.files[name]
        start = int(wanted.removeprefix("bytes=").removesuffix("-")) if wanted else 0
        if request.headers.get("If-Range", self.date) != self.date or not self.ranges:
            start = 0
        if start and start >= len(content):
            request.send_error(416)
            return
        request.send_response(206 if start else 200)
        if start:
            request.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        if self.tells_size:
            request.send_header("Content-Length", str(len(content) - start + self.too_many))
        request.send_header("Last-Modified", self.date)
        for header in self.headers.items():
            request.send_header(*header)
        request.end_headers()
        if not self.cuts:
            request.wfile.write(content[start:])
            return
        request.wfile.write(content[start : self.cuts.pop(0)])
        if self.ending != "close":
            time.sleep(0.1)  # what was sent has arrived
        if self.ending == "reset":
            linger = struct.pack("ii", 1, 0)
            request.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
            os.close(request.connection.detach())
        elif self.ending == "stall":
            request.rfile.read(1)  # until the other side has had enough


@contextmanager
def publish(files: dict[str, bytes]) -> Iterator[Publisher]:
    """A running ``Publisher`` of ``files``."""
    publisher = Publisher(files)

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            publisher.answer(self)

        def log_message(self, *_: object) -> None:
            pass

    class Server(ThreadingHTTPServer):
        def handle_error(self, *_: object) -> None:
            pass  # of a connection that was broken off

    server = Server(("127.0.0.1", 0), Handler)
    threading.Thread(
        target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True
    ).start()
    publisher.base = f"http://127.0.0.1:{server.server_port}"
    try:
        yield publisher
    finally:
        server.shutdown()
        server.server_close()
