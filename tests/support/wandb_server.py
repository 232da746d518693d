"""A stand-in for W&B's server: accepts every request of its client, and records what it was sent."""

import json
import threading
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

ANSWERS = {
    "serverInfo": {"cliVersionInfo": {"max_cli_version": "9.9.9", "min_cli_version": "0.0.1"}, "features": []},
    "viewer": {"id": "u", "entity": "me", "username": "me", "email": "", "flags": "{}", "teams": {"edges": []}},
    "upsertView": {"view": {"id": "v", "name": "nw-abc-v"}, "inserted": True},
    "model": {"id": "p", "bucket": None},
    "createRunFiles": {"runID": "r", "uploadHeaders": [], "files": []},
    "createArtifact": {
        "artifact": {"id": "a", "state": "COMMITTED", "artifactSequence": {"id": "s", "latestArtifact": None}}
    },
}


class Server:
    """HTTP server at `url`, until `close`.

    Attributes:
        asked: (operation, variables) of every GraphQL request.
        rows: {run: [row of its history, ...]}.
    """

    def __init__(self):
        self.asked, self.rows = [], {}
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self):
                body = self.rfile.read(int(self.headers.get("content-length") or 0))
                answer = json.dumps(outer.answer(self.path, body)).encode()
                self.send_response(200)
                self.send_header("content-type", "application/json")
                self.send_header("content-length", str(len(answer)))
                self.end_headers()
                self.wfile.write(answer)

            do_GET = do_POST  # noqa: N815

            def log_message(self, *arguments):
                pass

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.http.server_port}"
        threading.Thread(target=self.http.serve_forever, daemon=True).start()

    def answer(self, path, body):
        if path.endswith("/file_stream"):
            sent = json.loads(body).get("files") or {}
            lines = sent.get("wandb-history.jsonl", {}).get("content", [])
            self.rows.setdefault(path.split("/")[-2], []).extend(map(json.loads, lines))
            return {}
        if path != "/graphql":
            return {}
        question = json.loads(body)
        variables = question.get("variables") or {}
        text = question["query"].strip()
        self.asked.append((text.split("(")[0].split("{")[0].split()[-1], variables))
        run = {"id": "r", "name": variables.get("name"), "displayName": "x", "historyLineCount": 0}
        run["project"] = {"id": "p", "name": "inkwash", "entity": {"id": "e", "name": "me"}}
        return {"data": ANSWERS | {"upsertBucket": {"bucket": run, "inserted": True}}}

    @property
    def counts(self):
        return Counter(name for name, _ in self.asked)

    @property
    def environment(self):
        return {"WANDB_BASE_URL": self.url, "WANDB_API_KEY": "0" * 40}

    def close(self):
        self.http.shutdown()
        self.http.server_close()
