"""Stand-in for the Hugging Face hub: what making a repository, a commit and a download ask over HTTP."""

import base64
import hashlib
import json
import re
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import yaml

TOKEN = "hf_tiny"


class TinyHub(ThreadingHTTPServer):
    """Repositories of models in memory, each with one branch, ``main``; who writes must know `TOKEN`.

    Attributes:
        repositories: name -> {"private", "sha": of the last commit, "commits": {sha: {path: content}}}.
        asked: methods and paths of all requests.
    """

    def __init__(self):
        super().__init__(("127.0.0.1", 0), _Handler)
        self.repositories, self.large, self.asked = {}, {}, []
        self.url = f"http://127.0.0.1:{self.server_port}"
        threading.Thread(target=self.serve_forever, daemon=True).start()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        self._answer()

    do_HEAD = do_POST = do_PUT = do_GET

    def _answer(self):
        path = self.path.partition("?")[0]
        self.server.asked.append(f"{self.command} {path}")
        self.body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        for pattern, action in _ACTIONS:
            if match := re.fullmatch(pattern, f"{self.command} {path}"):
                writes = self.command == "POST"  # storage (PUT) is told by its address who writes
                if writes and self.headers.get("Authorization") != f"Bearer {TOKEN}":
                    return self._send(401, {"error": "who are you?"})
                return action(self, *match.groups())
        return self._send(404, {"error": f"the stand-in knows no {self.command} {path}"})

    def _send(self, status, content, **headers):
        data = content if isinstance(content, bytes) else json.dumps(content).encode()
        self.send_response(status)
        for name, value in {"Content-Length": len(data), **headers}.items():
            self.send_header(name.replace("_", "-"), str(value))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)

    def _create(self):
        wanted = json.loads(self.body)
        name = "/".join(filter(None, (wanted.get("organization"), wanted["name"])))
        private = wanted.get("visibility") == "private" or bool(wanted.get("private"))
        repository = {"private": private, "sha": "0" * 40, "commits": {"0" * 40: {}}}
        if self.server.repositories.setdefault(name, repository) is not repository:
            return self._send(409, {"error": "exists", "url": f"{self.server.url}/{name}"})
        return self._send(200, {"url": f"{self.server.url}/{name}", "name": name})

    def _validate(self):
        _, metadata, _ = json.loads(self.body)["content"].split("---\n", 2)
        unknown = yaml.safe_load(metadata).keys() - _METADATA
        errors = [{"message": f"the stand-in knows no metadata {name}"} for name in unknown]
        self._send(400 if errors else 200, {"errors": errors, "warnings": []})

    def _state(self, name, revision):
        """A repository, the commit that a revision stands for, and its files; answers where there is none."""
        repository = self.server.repositories.get(name)
        if repository is None:
            self._send(404, {"error": "Repository not found"}, X_Error_Code="RepoNotFound")
            return None
        sha = repository["sha"] if revision in (None, "main") else revision
        if sha not in repository["commits"]:
            self._send(404, {"error": "Invalid rev id"}, X_Error_Code="RevisionNotFound")
            return None
        return repository, sha, repository["commits"][sha]

    def _info(self, name, revision=None):
        if state := self._state(name, revision):
            repository, sha, files = state
            siblings = [{"rfilename": path} for path in files]
            about = {"id": name, "modelId": name, "sha": sha, "private": repository["private"]}
            self._send(200, about | {"siblings": siblings})

    def _tree(self, name, revision):
        if state := self._state(name, revision):
            rows = [
                {"type": "file", "path": path, "size": len(content), "oid": hashlib.sha1(content).hexdigest()}
                for path, content in state[2].items()
            ]
            self._send(200, rows)

    def _preupload(self, name, _):
        answers = [
            {
                "path": file["path"],
                "uploadMode": "lfs" if file["path"].endswith(".safetensors") else "regular",
                "shouldIgnore": False,
            }
            for file in json.loads(self.body)["files"]
        ]
        self._send(200, {"files": answers})

    def _lfs_batch(self, name):
        objects = [
            {
                "oid": of["oid"],
                "size": of["size"],
                "actions": {"upload": {"href": f"{self.server.url}/large/{of['oid']}"}},
            }
            for of in json.loads(self.body)["objects"]
        ]
        self._send(200, {"transfer": "basic", "objects": objects})

    def _store(self, oid):
        if hashlib.sha256(self.body).hexdigest() != oid:
            return self._send(400, {"error": "another content"})
        self.server.large[oid] = self.body
        return self._send(200, {})

    def _commit(self, name, revision):
        if (state := self._state(name, revision)) is None:
            return
        repository, files = state[0], dict(state[2])
        for line in self.body.decode().splitlines():
            step = json.loads(line)
            key, value = step["key"], step["value"]
            if key == "file":
                files[value["path"]] = base64.b64decode(value["content"])
            elif key == "lfsFile":
                files[value["path"]] = self.server.large[value["oid"]]
            elif key == "deletedFile":
                del files[value["path"]]
        sha = hashlib.sha1(f"{len(repository['commits'])}".encode() + self.body).hexdigest()
        repository["commits"][sha], repository["sha"] = files, sha
        self._send(200, {"commitUrl": f"{self.server.url}/{name}/commit/{sha}", "commitOid": sha})

    def _resolve(self, name, revision, path):
        if (state := self._state(name, revision)) is None:
            return
        _, sha, files = state
        if path not in files:
            return self._send(404, {"error": "Entry not found"}, X_Error_Code="EntryNotFound")
        etag = f'"{hashlib.sha1(files[path]).hexdigest()}"'
        self._send(200, files[path], ETag=etag, X_Repo_Commit=sha, Accept_Ranges="bytes")

    def log_message(self, *_):
        pass


_NAME = r"([\w.-]+/[\w.-]+)"
_METADATA = {
    "license",
    "license_name",
    "tags",
    "library_name",
    "pipeline_tag",
    "datasets",
    "metrics",
    "model-index",
}
_ACTIONS = [
    (r"POST /api/validate-yaml", _Handler._validate),
    (r"POST /api/repos/create", _Handler._create),
    (rf"GET /api/models/{_NAME}", _Handler._info),
    (rf"GET /api/models/{_NAME}/revision/(\S+)", _Handler._info),
    (rf"GET /api/models/{_NAME}/tree/(\S+)", _Handler._tree),
    (rf"POST /api/models/{_NAME}/preupload/(\S+)", _Handler._preupload),
    (rf"POST /{_NAME}.git/info/lfs/objects/batch", _Handler._lfs_batch),
    (r"PUT /large/(\w+)", _Handler._store),
    (rf"POST /api/models/{_NAME}/commit/(\S+)", _Handler._commit),
    (rf"(?:GET|HEAD) /{_NAME}/resolve/([^/]+)/(\S+)", _Handler._resolve),
]
