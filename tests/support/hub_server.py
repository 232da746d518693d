"""A stand-in for the Hugging Face hub: makes repositories and takes commits of small files, and records them."""

import base64
import json
import re
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

COMMIT = "0" * 40


class Hub:
    """HTTP server at `url`, until `close`.

    Attributes:
        created: bodies of the requests to make a repository.
        tokens: what came as Authorization.
        files: {"models/user/name": {path: bytes}}.
        refuse: (status, message) to answer to commits, None to take them.
    """

    def __init__(self):
        self.created, self.tokens, self.files, self.refuse = [], [], {}, None
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self):
                length = int(self.headers.get("content-length") or 0)
                body = self.rfile.read(length) if length else self._chunks()
                outer.tokens.append(self.headers.get("authorization"))
                status, answer = outer.answer(self.path.partition("?")[0], body)
                content = json.dumps(answer).encode()
                self.send_response(status)
                if status >= 400:
                    self.send_header("x-error-message", answer["error"])
                self.send_header("content-type", "application/json")
                self.send_header("content-length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            do_GET = do_POST  # noqa: N815

            def _chunks(self):
                if self.headers.get("transfer-encoding") != "chunked":
                    return b""
                parts = []
                while size := int(self.rfile.readline(), 16):
                    parts.append(self.rfile.read(size))
                    self.rfile.readline()
                self.rfile.readline()
                return b"".join(parts)

            def log_message(self, *arguments):
                pass

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.http.server_port}"
        threading.Thread(target=self.http.serve_forever, daemon=True).start()

    def answer(self, path, body):
        if path == "/api/repos/create":
            self.created.append(made := json.loads(body))
            kind = "datasets/" if made.get("type") == "dataset" else ""
            return 200, {"url": f"{self.url}/{kind}{made['organization']}/{made['name']}"}
        if path == "/api/validate-yaml":
            return 200, {"errors": [], "warnings": []}
        if found := re.fullmatch(r"/api/(\w+/[^/]+/[^/]+)/preupload/main", path):
            files = [{"path": file["path"], "uploadMode": "regular", "shouldIgnore": False, "oid": None}
                     for file in json.loads(body)["files"]]  # fmt: skip
            return 200, {"files": files}
        if found := re.fullmatch(r"/api/(\w+/[^/]+/[^/]+)/commit/main", path):
            if self.refuse is not None:
                return self.refuse[0], {"error": self.refuse[1]}
            for line in map(json.loads, body.splitlines()):
                if line["key"] == "file":
                    content = base64.b64decode(line["value"]["content"])
                    self.files.setdefault(found[1], {})[line["value"]["path"]] = content
            url = f"{self.url}/{found[1].removeprefix('models/')}/commit/{COMMIT}"
            return 200, {"commitUrl": url, "commitOid": COMMIT, "success": True}
        if re.match(r"/api/\w+/[^/]+/[^/]+", path):  # facts of the repository
            return 200, {"id": "me/it", "sha": COMMIT, "siblings": [], "private": True, "tags": [], "downloads": 0}
        return 404, {"error": f"the stand-in does not know {path}"}

    def close(self):
        self.http.shutdown()
        self.http.server_close()
