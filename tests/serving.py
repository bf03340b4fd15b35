"""A local server for tests of downloads: files with ranges and cuts, and the few calls that the hub's client makes."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote, urlsplit


@dataclass
class Server:
    """``files``: path → content. ``cuts``: path → bytes after which the connection ends, once for each entry."""

    url: str = ""
    files: dict[str, bytes] = field(default_factory=dict)
    cuts: dict[str, list[int]] = field(default_factory=dict)
    status: dict[str, list[int]] = field(default_factory=dict)
    requests: list[tuple[str, str, str | None]] = field(default_factory=list)
    repos: dict[str, dict[str, str]] = field(default_factory=dict)
    etags: bool = True

    def repo(self, name: str, commit: str, files: dict[str, bytes], revision: str = "main") -> None:
        """Put a dataset on the hub: ``revision`` is a name of the commit."""
        self.repos.setdefault(name, {})[revision] = self.repos[name][commit] = commit
        for path, content in files.items():
            self.files[f"/datasets/{name}/resolve/{commit}/{path}"] = content

    def ranges(self, path: str) -> list[str | None]:
        """The Range headers with which a file was asked for."""
        return [asked for method, wanted, asked in self.requests if method == "GET" and wanted == path]


@contextmanager
def serving() -> Iterator[Server]:
    state = Server()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_: object) -> None:
            pass

        def do_HEAD(self) -> None:
            self.answer(False)

        def do_GET(self) -> None:
            self.answer(True)

        def answer(self, body: bool) -> None:
            path = unquote(urlsplit(self.path).path)
            state.requests.append((self.command, path, self.headers.get("Range")))
            if path.startswith("/api/datasets/"):
                return self.api(path.removeprefix("/api/datasets/"))
            if state.status.get(path):
                return self.plain(state.status[path].pop(0), b"no")
            if path not in state.files:
                return self.plain(404, b"", {"X-Error-Code": "EntryNotFound"})
            content = state.files[path]
            etag = f'"{hashlib.sha256(content).hexdigest()}"'
            start, code = 0, 200
            asked = self.headers.get("Range")
            if asked and self.headers.get("If-Range", etag) == etag:
                start, code = int(asked.removeprefix("bytes=").partition("-")[0]), 206
                if start >= len(content):
                    return self.plain(416, b"")
            self.send_response(code)
            self.send_header("Content-Length", str(len(content) - start))
            if state.etags:
                self.send_header("ETag", etag)
            if code == 206:
                self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
            if path.startswith("/datasets/"):
                self.send_header("X-Repo-Commit", path.split("/")[5])
            self.end_headers()
            if body:
                cut = state.cuts[path].pop(0) if state.cuts.get(path) else None
                self.wfile.write(content[start:] if cut is None else content[start : start + cut])
                if cut is not None:
                    self.close_connection = True
            return None

        def api(self, path: str) -> None:
            owner, name, *rest = path.split("/")
            repo = f"{owner}/{name}"
            known = state.repos.get(repo)
            if known is None:
                return self.plain(404, b"{}", {"X-Error-Code": "RepoNotFound"})
            revision = "/".join(rest[1:]) or "main"
            if revision not in known:
                return self.plain(404, b"{}", {"X-Error-Code": "RevisionNotFound"})
            commit = known[revision]
            if not rest or rest[0] == "revision":
                return self.plain(200, json.dumps({"id": repo, "sha": commit, "siblings": [], "tags": []}).encode())
            lead = f"/datasets/{repo}/resolve/{commit}/"
            found = [
                {"type": "file", "path": path.removeprefix(lead), "size": len(content), "oid": "0" * 40}
                for path, content in state.files.items()
                if path.startswith(lead)
            ]
            return self.plain(200, json.dumps(found).encode())

        def plain(self, code: int, content: bytes, headers: dict[str, str] | None = None) -> None:
            self.send_response(code)
            self.send_header("Content-Length", str(len(content)))
            for name, value in (headers or {}).items():
                self.send_header(name, value)
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(content)

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    state.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield state
    finally:
        server.shutdown()
        server.server_close()
