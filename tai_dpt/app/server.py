"""The page over HTTP: who may ask, how much may be sent, and the few things that are there.

No path becomes a file's: what can be had is a table made before the first request. The page is
asked for by this computer's name or by an address: a name that some page on the web points here
(DNS rebinding) is refused, and so is what a page of another origin sends.
"""

from __future__ import annotations

import errno
import json
import socket
import sys
import traceback
from collections.abc import Mapping
from http.server import BaseHTTPRequestHandler
from importlib import resources
from ipaddress import ip_address
from socketserver import ThreadingTCPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

from tai_dpt.app.desk import QUESTIONS, Desk
from tai_dpt.errors import InputError
from tai_dpt.io.console import told
from tai_dpt.io.output import os_error
from tai_dpt.reports.page import render

MOST_BYTES = 50_000_000  # of an upload
_MOST_DISCARDED = 2_000_000_000
_MOST_FIELDS = 20_000
_HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; "
    "img-src data:; connect-src 'self'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}


class PageServer(ThreadingTCPServer):
    """Serves a tagger's page on ``host``; ``url`` is where."""

    allow_reuse_address = True
    daemon_threads = True
    request_queue_size = 512  # with the usual 5 some of many that ask at once are turned away

    def __init__(self, desk: Desk, *, host: str, port: int) -> None:
        """
        Args:
            port: 0 takes any free one.

        Raises:
            InputError: the port is taken, or the host is none of this computer's.
        """
        self.desk = desk
        self.host = host
        self.files = _files(desk)
        self.address_family = socket.AF_INET6 if ":" in host else socket.AF_INET
        try:
            super().__init__((host, port), _Request)
        except OSError as error:
            if error.errno in (errno.EADDRINUSE, errno.EACCES):
                raise InputError(
                    f"port {port} is taken, or not for you: choose another with --port (0: any "
                    "free one)"
                ) from None
            raise InputError(f"--host {host}: {error.strerror or error}") from None

    @property
    def url(self) -> str:
        shown = f"[{self.host}]" if ":" in self.host else self.host
        return f"http://{shown}:{self.server_address[1]}"

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing of a browser that went away."""
        if not isinstance(sys.exc_info()[1], OSError):
            super().handle_error(request, client_address)


def _files(desk: Desk) -> dict[str, tuple[str, bytes]]:
    """All that can be had: path -> kind and content."""
    folder = resources.files("tai_dpt.reports") / "templates"
    page = render("app.html", title="Tagger", most=MOST_BYTES // 1_000_000, **desk.about())
    return {
        "/": ("text/html; charset=utf-8", page.encode()),
        "/base.css": ("text/css; charset=utf-8", (folder / "base.css").read_bytes()),
        "/app.css": ("text/css; charset=utf-8", (folder / "app.css").read_bytes()),
        "/app.js": ("text/javascript; charset=utf-8", (folder / "app.js").read_bytes()),
    }


class _Request(BaseHTTPRequestHandler):
    server: PageServer
    timeout = 60
    server_version, sys_version = "tai-dpt", ""

    def do_GET(self) -> None:
        path = urlsplit(self.path).path
        if not self._is_own():
            self._send(403, _error("open the page by the address that 'tai-dpt app' printed"))
        elif path == "/tagger":
            self._send(200, {**self.server.desk.about(), "most_bytes": MOST_BYTES})
        elif path in self.server.files:
            kind, content = self.server.files[path]
            self._send_bytes(200, kind, content)
        else:
            self._send(404, _error("there is no such page"))

    def do_POST(self) -> None:
        place = urlsplit(self.path)
        given = self.headers.get("Content-Length", "")
        length = int(given) if given.isascii() and given.isdecimal() and len(given) < 16 else None
        if not self._is_own():
            self._refuse(403, "this page takes questions from itself alone", length)
        elif place.path not in QUESTIONS:
            self._refuse(404, "there is no such question", length)
        elif length is None:
            self._refuse(411, "the length of what is sent must be given", 0)
        elif length > MOST_BYTES:
            most = f"{MOST_BYTES // 1_000_000} MB"
            self._refuse(413, f"a file of {length / 1e6:,.0f} MB; at most {most} are taken", length)
        else:
            content = self.rfile.read(length)
            if len(content) == length:
                self._send(*self._answer(place.path, place.query, content))

    def _answer(self, question: str, query: str, content: bytes) -> tuple[int, Mapping[str, Any]]:
        try:
            asked = parse_qs(query, max_num_fields=_MOST_FIELDS)
        except ValueError:
            return 400, _error(f"more than {_MOST_FIELDS:,} fields in one question")
        try:
            return 200, self.server.desk.answer(question, asked, content)
        except InputError as error:
            return 400, _error(told(str(error)))
        except OSError as error:
            return 400, _error(os_error(error))
        except Exception as error:  # one question must not end the page
            traceback.print_exc()
            return 500, _error(f"something broke ({type(error).__name__}); the console says what")

    def _is_own(self) -> bool:
        """Whether the page was asked for by name or address, and asks for itself."""
        host = self.headers.get("Host", "")
        try:
            name = urlsplit(f"//{host}").hostname or ""
            if name not in ("localhost", self.server.host):
                ip_address(name)
        except ValueError:
            return False
        return self.headers.get("Origin") in (None, f"http://{host}")

    def _refuse(self, code: int, reason: str, length: int | None) -> None:
        """Answer, then read what nobody wants: else the sender sees a broken connection."""
        self._send(code, _error(reason))
        left = min(length or 0, _MOST_DISCARDED)
        while left > 0 and (block := self.rfile.read(min(left, 1 << 20))):
            left -= len(block)

    def _send(self, code: int, facts: Mapping[str, Any]) -> None:
        content = json.dumps(facts, ensure_ascii=False).encode("utf-8", "replace")
        self._send_bytes(code, "application/json; charset=utf-8", content)

    def _send_bytes(self, code: int, kind: str, content: bytes) -> None:
        self.send_response(code)
        for name, value in _HEADERS.items():
            self.send_header(name, value)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: Any) -> None:
        """Nothing: the console is for what goes wrong."""


def _error(text: str) -> dict[str, Any]:
    return {"error": text}
