"""A hub on the loopback address: the few addresses that huggingface_hub asks for, and faults."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

COMMIT = "0123456789abcdef0123456789abcdef01234567"


class FakeHub(ThreadingHTTPServer):
    """Holds one repository; `cut` names a file whose first answer breaks off half-way.

    Nothing is answered after that until `broken` is reset. `lie` names a file whose content is
    not the announced one.
    """

    daemon_threads = True

    def __init__(self, repo: str, files: dict[str, bytes], cut: str | None = None) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.repo = repo
        self.files = files
        self.cut = cut
        self.broken = False
        self.lie: str | None = None
        self.gated = False
        self.requests: list[tuple[str, str, str | None]] = []  # method, path, Range

    @property
    def url(self) -> str:
        """What to set HF_ENDPOINT to."""
        return f"http://127.0.0.1:{self.server_port}"

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that hangs up is no news."""


@contextmanager
def serving(*args: Any, **options: Any) -> Iterator[FakeHub]:
    """Run a FakeHub in a thread."""
    hub = FakeHub(*args, **options)
    Thread(target=hub.serve_forever, daemon=True).start()
    try:
        yield hub
    finally:
        hub.shutdown()
        hub.server_close()


class _Handler(BaseHTTPRequestHandler):
    server: FakeHub

    def do_GET(self) -> None:
        self.answer(body=True)

    def do_HEAD(self) -> None:
        self.answer(body=False)

    def log_message(self, *args: Any) -> None:
        """Keep the tests' output quiet."""

    def answer(self, body: bool) -> None:
        hub, path = self.server, self.path.split("?")[0]
        hub.requests.append((self.command, path, self.headers.get("Range")))
        if hub.broken:
            self.send_error(500)
        elif hub.gated:
            self.fail(403, "GatedRepo")
        elif match := re.fullmatch(rf"/api/models/{hub.repo}(/revision/[^/]+)?", path):
            siblings = [{"rfilename": name} for name in hub.files]
            self.json({"id": hub.repo, "modelId": hub.repo, "sha": COMMIT, "siblings": siblings})
        elif re.fullmatch(rf"/api/models/{hub.repo}/tree/[^/]+", path):
            self.json([self.entry(name) for name in hub.files])
        elif (match := re.fullmatch(rf"/{hub.repo}/resolve/[^/]+/(.+)", path)) and (
            match[1] in hub.files
        ):
            self.file(match[1], body)
        else:
            self.fail(404 if "/resolve/" in path else 401, "RepoNotFound")

    def entry(self, name: str) -> dict[str, Any]:
        content = self.server.files[name]
        entry = {"type": "file", "path": name, "size": len(content), "oid": _sha(content)[:40]}
        if name.endswith(".safetensors"):
            entry["lfs"] = {"oid": _sha(content), "size": len(content), "pointerSize": 130}
        return entry

    def fail(self, status: int, code: str) -> None:
        self.send_response(status)
        self.send_header("X-Error-Code", code)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def json(self, value: Any) -> None:
        content = json.dumps(value).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def file(self, name: str, body: bool) -> None:
        hub, content = self.server, self.server.files[name]
        start = 0
        if body and (asked := self.headers.get("Range")):
            start = int(re.fullmatch(r"bytes=(\d+)-\d*", asked)[1])
        self.send_response(206 if start else 200)
        self.send_header("X-Repo-Commit", COMMIT)
        self.send_header("ETag", f'"{_sha(content)}"')
        self.send_header("Content-Length", str(len(content) - start))
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        self.end_headers()
        if not body:
            return
        if name == hub.cut:
            hub.cut, hub.broken = None, True
            self.wfile.write(content[: len(content) // 2])
            self.wfile.flush()
            self.close_connection = True
            return
        self.wfile.write(content[start:] if name != hub.lie else bytes(len(content) - start))


def _sha(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
