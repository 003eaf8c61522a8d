"""A hub on this machine: folders, as huggingface_hub asks for them, and a count of the bytes that it sent."""

import hashlib
import json
import re
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from urllib.parse import unquote, urlsplit

import huggingface_hub
import pytest

API = re.compile(r"/api/models/(?P<name>[^/]+/[^/]+?)(/revision/[^/]+|(?P<tree>/tree/[^/]+))?")
FILE = re.compile(r"/(?P<cdn>cdn/)?(?P<name>[^/]+/[^/]+)/resolve/[^/]+/(?P<file>.+)")


class FakeHub:
    """Repositories as folders below `root`, each of one commit; redirects to another host for weights.

    Attributes:
        sent: (repository, file) -> bytes of its contents that were sent.
        ranges: whether parts of files are given.
        gated: whether it gives nothing without a login.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self.sent = Counter[tuple[str, str]]()
        self.ranges = True
        self.gated = False
        self.url = ""

    def files(self, name: str) -> dict[str, Path] | None:
        folder = self.root / name
        if not folder.is_dir():
            return None
        return {str(f.relative_to(folder)): f for f in sorted(folder.rglob("*")) if f.is_file()}

    def weights_sent(self, name: str) -> dict[str, int]:
        """Of each file of weights that was asked for, how many bytes were sent."""
        suffixes = (".safetensors", ".bin", ".pth", ".gguf", ".onnx")
        return {file: n for (repo, file), n in self.sent.items() if repo == name and file.endswith(suffixes)}

    @contextmanager
    def serving(self) -> Iterator["FakeHub"]:
        hub = self

        class Handler(_Handler):
            fake = hub

        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{server.server_port}"
        thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield self
        finally:
            server.shutdown()
            server.server_close()
            thread.join()


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeHub]:
    """A hub of the folders below `published`, and an empty cache, as HF_ENDPOINT and HF_HUB_CACHE say."""
    constants = huggingface_hub.constants
    with FakeHub(tmp_path / "published").serving() as hub:
        monkeypatch.setattr(constants, "ENDPOINT", hub.url)
        template = constants.HUGGINGFACE_CO_URL_TEMPLATE
        monkeypatch.setattr(
            constants, "HUGGINGFACE_CO_URL_TEMPLATE", hub.url + template[template.index("/{") :]
        )
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cached"))
        yield hub


class _Handler(BaseHTTPRequestHandler):
    fake: FakeHub
    protocol_version = "HTTP/1.1"

    def log_message(self, *arguments: object) -> None:
        pass

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        path = unquote(urlsplit(self.path).path)
        if self.fake.gated:
            self._send(401, {"X-Error-Code": "GatedRepo"}, b"{}")
            return
        if found := API.fullmatch(path):
            self._api(found["name"], found["tree"] is not None)
        elif found := FILE.fullmatch(path):
            self._file(found["name"], found["file"], found["cdn"] is not None)
        else:
            self._send(404, {}, b"")

    def _api(self, name: str, tree: bool) -> None:
        files = self.fake.files(name)
        if files is None:
            self._send(404, {"X-Error-Code": "RepoNotFound"}, b"{}")
            return
        sizes = {file: path.stat().st_size for file, path in files.items()}
        if tree:
            found = [
                {"type": "file", "path": file, "size": n, "oid": _etag(name, file)}
                for file, n in sizes.items()
            ]
            self._send(200, {}, json.dumps(found).encode())
            return
        siblings = [{"rfilename": file, "size": n} for file, n in sizes.items()]
        info = {"id": name, "modelId": name, "sha": _commit(name), "siblings": siblings, "tags": []}
        self._send(200, {}, json.dumps(info).encode())

    def _file(self, name: str, file: str, cdn: bool) -> None:
        path = (self.fake.files(name) or {}).get(file)
        if path is None:
            self._send(404, {"X-Error-Code": "EntryNotFound"}, b"")
            return
        size, etag = path.stat().st_size, f'"{_etag(name, file)}"'
        headers = {"X-Repo-Commit": _commit(name), "ETag": etag, "Accept-Ranges": "bytes"}
        if path.suffix in (".safetensors", ".bin") and not cdn:
            linked = {"X-Linked-Size": str(size), "X-Linked-Etag": etag}
            place = self.fake.url.replace("127.0.0.1", "localhost")
            self._send(302, {**headers, **linked, "Location": f"{place}/cdn{self.path}"}, b"")
            return
        start, stop, status = 0, size, 200
        asked = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))
        if asked and self.fake.ranges:
            start, stop, status = int(asked[1]), min(size, int(asked[2] or size) + 1), 206
            headers["Content-Range"] = f"bytes {start}-{stop - 1}/{size}"
        with path.open("rb") as stream:
            stream.seek(start)
            content = stream.read(stop - start)
        if self.command == "GET":
            self.fake.sent[name, file] += len(content)
        self._send(status, headers, content)

    def _send(self, status: int, headers: dict[str, str], content: bytes) -> None:
        self.send_response(status)
        for key, value in {**headers, "Content-Length": str(len(content))}.items():
            self.send_header(key, value)
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(content)


def _commit(name: str) -> str:
    return hashlib.sha1(name.encode(), usedforsecurity=False).hexdigest()


def _etag(name: str, file: str) -> str:
    return hashlib.sha1(f"{name}/{file}".encode(), usedforsecurity=False).hexdigest()
