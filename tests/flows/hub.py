"""A server on loopback that speaks the part of the Hugging Face Hub's API that create_repo and upload_folder use."""

import base64
import hashlib
import http.server
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

TOKEN = "hf_loopback"


@dataclass
class Hub:
    """What was asked and what was taken."""

    url: str = ""
    owner: str = "someone"
    asked: list[str] = field(default_factory=list)
    made: list[dict[str, Any]] = field(default_factory=list)
    objects: dict[str, bytes] = field(default_factory=dict)
    files: dict[str, bytes] = field(default_factory=dict)
    messages: list[str] = field(default_factory=list)


def _answers(hub: Hub) -> type[http.server.BaseHTTPRequestHandler]:
    class Answers(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_: object) -> None:
            """Nothing."""

        def body(self) -> bytes:
            if self.headers.get("Transfer-Encoding") != "chunked":
                return self.rfile.read(int(self.headers.get("Content-Length") or 0))
            parts = []
            while size := int(self.rfile.readline(), 16):
                parts.append(self.rfile.read(size))
                self.rfile.readline()
            self.rfile.readline()
            return b"".join(parts)

        def reply(self, value: Any, status: int = 200) -> None:
            content = json.dumps(value).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def do_PUT(self) -> None:
            content = self.body()
            hub.objects[hashlib.sha256(content).hexdigest()] = content
            self.reply({})

        def do_GET(self) -> None:
            hub.asked.append(self.path)
            self.reply({"error": "not here"}, 404)

        def do_POST(self) -> None:
            path, content = self.path.partition("?")[0], self.body()
            hub.asked.append(path)
            if self.headers.get("Authorization") != f"Bearer {TOKEN}":
                self.reply({"error": "Invalid username or password."}, 401)
            elif path == "/api/repos/create":
                hub.made.append(json.loads(content))
                name = hub.made[-1]["name"]
                owner = hub.made[-1].get("organization") or hub.owner
                self.reply({"url": f"{hub.url}/{owner}/{name}", "name": f"{owner}/{name}"})
            elif path == "/api/validate-yaml":
                self.reply({"errors": [], "warnings": []})
            elif "/preupload/" in path:
                names = [each["path"] for each in json.loads(content)["files"]]
                self.reply(
                    {"files": [{"path": name, "uploadMode": _mode(name), "shouldIgnore": False} for name in names]}
                )
            elif path.endswith("/info/lfs/objects/batch"):
                wanted = json.loads(content)["objects"]
                upload = {"upload": {"href": f"{hub.url}/objects"}}
                self.reply({"transfer": "basic", "objects": [{**each, "actions": upload} for each in wanted]})
            elif "/commit/" in path:
                self.reply(_commit(hub, content, path))
            else:
                self.reply({"error": "unknown"}, 404)

    return Answers


def _mode(name: str) -> str:
    return "lfs" if name.endswith((".safetensors", ".png")) else "regular"


def _commit(hub: Hub, content: bytes, path: str) -> dict[str, Any]:
    for line in map(json.loads, content.splitlines()):
        value = line["value"]
        if line["key"] == "header":
            hub.messages.append(value["summary"])
        elif line["key"] == "file":
            hub.files[value["path"]] = base64.b64decode(value["content"])
        elif line["key"] == "lfsFile":
            hub.files[value["path"]] = hub.objects[value["oid"]]
    repo = path.removeprefix("/api/models/").partition("/commit/")[0]
    return {
        "success": True,
        "commitUrl": f"{hub.url}/{repo}/commit/{'0' * 40}",
        "commitOid": "0" * 40,
        "hookOutput": "",
    }


@contextmanager
def hub() -> Iterator[Hub]:
    """The server while the block runs."""
    found = Hub()
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), _answers(found)) as server:
        found.url = f"http://127.0.0.1:{server.server_port}"
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield found
        finally:
            server.shutdown()
