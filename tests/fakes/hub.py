"""A hub on loopback: one model, by the protocols of the Hugging Face hub and of ModelScope."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, unquote, urlsplit

COMMIT = "0123456789abcdef0123456789abcdef01234567"


class _Handler(BaseHTTPRequestHandler):
    folder: Path
    name: str
    asked: list[str]

    def log_message(self, format: str, *args: object) -> None:
        """Nothing: tests read their own output."""

    def do_HEAD(self) -> None:
        self._answer()

    def do_GET(self) -> None:
        self._answer()

    def _answer(self) -> None:
        self.asked.append(self.path)
        parts = urlsplit(self.path)
        path, query = unquote(parts.path), parse_qs(parts.query)
        files = sorted(p.name for p in self.folder.iterdir() if p.is_file())
        if path.startswith(f"/api/models/{self.name}/tree/"):
            self._json(
                [{"type": "file", "path": f, "size": self._size(f), "oid": self._sum(f)} for f in files]
            )
        elif path.startswith(f"/api/models/{self.name}"):
            names = [{"rfilename": file} for file in files]
            self._json({"id": self.name, "modelId": self.name, "sha": COMMIT, "siblings": names})
        elif path.startswith(f"/{self.name}/resolve/") and path.rsplit("/", 1)[1] in files:
            self._file(path.rsplit("/", 1)[1])
        elif path.startswith(f"/api/v1/models/{self.name}"):
            self._modelscope(path, query, files)
        else:
            self._json({"error": "Repository not found", "Code": 404, "Message": "not found"}, 404)

    def _modelscope(self, path: str, query: dict[str, list[str]], files: list[str]) -> None:
        if path.endswith("/repo/files"):
            entries = [
                {
                    "Path": f,
                    "Name": f,
                    "Type": "blob",
                    "Revision": COMMIT,
                    "Size": self._size(f),
                    "Sha256": self._sum(f),
                }
                for f in files
            ]
            self._json({"Code": 200, "Success": True, "Data": {"Files": entries, "LatestCommitter": {}}})
        elif path.endswith("/repo"):
            self._file(query["FilePath"][0])
        elif path.endswith("/revisions"):
            branches = {"Branches": [{"Revision": "master", "CreatedAt": 1}], "Tags": []}
            self._json({"Code": 200, "Success": True, "Data": {"RevisionMap": branches}})
        else:
            self._json({"Code": 200, "Success": True, "Data": {"Name": self.name}})

    def _size(self, file: str) -> int:
        return (self.folder / file).stat().st_size

    def _sum(self, file: str) -> str:
        return hashlib.sha256((self.folder / file).read_bytes()).hexdigest()

    def _json(self, value: object, status: int = 200) -> None:
        self._send(status, json.dumps(value).encode(), {"Content-Type": "application/json"})

    def _file(self, file: str) -> None:
        data = (self.folder / file).read_bytes()
        self._send(200, data, {"ETag": f'"{self._sum(file)}"', "X-Repo-Commit": COMMIT})

    def _send(self, status: int, body: bytes, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(body))}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body)


@contextmanager
def hub_of(folder: Path, name: str) -> Iterator[tuple[str, list[str]]]:
    """The address of a hub that holds the files of `folder` as the model `name`, and what it was asked for."""
    asked: list[str] = []
    handler = type("Handler", (_Handler,), {"folder": folder, "name": name, "asked": asked})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", asked
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
