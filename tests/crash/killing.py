"""The campaign of kills: uploads go on and on while processes die by SIGKILL at random moments.

What is watched meanwhile: which keys a phone was told are in (acknowledged), and what every file held when
it was first seen. What is judged at the end: `verdict`.
"""

import base64
import hashlib
import json
import os
import random
import signal
import threading
import time
import zipfile
from collections import Counter
from dataclasses import dataclass, field
from io import BytesIO

from registry.protocol.export_file import decode_export
from registry.protocol.index import GAEN_ZIP
from tests.app_of_old import AppOfOld, fresh_keys
from tests.running import PATIENCE_SECONDS, TICK_SECONDS, Running

UPLOADERS = 3
TWO_DAYS = 2 * 86_400
TARGETS = ("publish --loop", "gunicorn", "gunicorn")
"""Twice the web server: its master and workers share a command line, and any of them may be hit."""


@dataclass
class Campaign:
    """One run of the registry under fire."""

    registry: Running
    chance: random.Random
    acknowledged: set[bytes] = field(default_factory=set)
    first_seen: dict[str, str] = field(default_factory=dict)
    changed: list[str] = field(default_factory=list)
    kills: Counter[str] = field(default_factory=Counter)
    ended: threading.Event = field(default_factory=threading.Event)
    faults: list[str] = field(default_factory=list)

    def fight(self, kills: int) -> None:
        """Start uploaders and watcher, kill `kills` times, let everything settle."""
        threads = [threading.Thread(target=self._upload_for_ever) for _ in range(UPLOADERS)]
        threads.append(threading.Thread(target=self._watch_for_ever))
        for thread in threads:
            thread.start()
        try:
            for _ in range(kills):
                time.sleep(self.chance.uniform(0.2, 2.0))
                self._kill_one()
            self.registry.wait_until(self.registry.is_healthy)
            time.sleep(1.0)
        finally:
            self.ended.set()
            for thread in threads:
                thread.join(PATIENCE_SECONDS)
        self.registry.wait_until(self._all_are_out)
        self._watch()

    def verdict(self) -> list[str]:
        """Everything that must not be; empty when all is well."""
        published = Counter(self._published())
        wrong = [f"published {n} times" for n in published.values() if n != 1]
        wrong += [f"changed: {name}" for name in self.changed]
        wrong += self.faults
        listed = self.registry.file_names()
        index = json.loads(self.registry.get("/exposures/XA/index.json"))
        files = {f["path"]: f for window in index["windows"] for f in window["files"]}
        if sorted(name for name, file in files.items() if file["format"] == GAEN_ZIP) != sorted(listed):
            wrong.append("index.txt and index.json disagree")
        for name, entry in files.items():
            content = self.registry.get(f"/exposures/{name}")
            if (hashlib.sha256(content).hexdigest(), len(content)) != (entry["sha256"], entry["size"]):
                wrong.append(f"index.json does not describe {name}")
        return wrong

    def _kill_one(self) -> None:
        wanted = self.chance.choice(TARGETS)
        victims = [pid for pid, command in self.registry.descendants().items() if wanted in command]
        if not victims:
            return
        try:
            os.kill(self.chance.choice(victims), signal.SIGKILL)
        except ProcessLookupError:
            return
        self.kills[wanted] += 1

    def _upload_for_ever(self) -> None:
        while not self.ended.is_set():
            keys = fresh_keys(time.time() - TWO_DAYS)
            app = self.registry.app()
            code = self._persist(app, "issue", lambda app=app: self._issue(app))
            if code is None:
                return
            body = json.dumps({"code": code, "padding": base64.b64encode(os.urandom(32)).decode()}).encode()
            token = self._persist(
                app, "verify", lambda app=app, body=body: app.send("/api/verify", body, app.device_api_key)
            )
            if token is None:
                return
            certificate = self._persist(
                app, "certify", lambda app=app, token=token, keys=keys: app.certify(token, keys)
            )
            if certificate is None:
                return
            upload = app.publish_body(certificate, keys)
            if self._persist(app, "publish", lambda app=app, upload=upload: app.post("/v1/publish", upload)):
                self.acknowledged |= {base64.b64decode(str(key["key"])) for key in keys}

    def _issue(self, app: AppOfOld) -> object:
        day = time.strftime("%Y-%m-%d", time.gmtime(time.time() - TWO_DAYS))
        request = {"testType": "confirmed", "testDate": day, "symptomDate": day}
        return app.post("/api/issue", request, self.registry.first_run["admin_api_key"], pad=False)

    def _persist(self, _app: AppOfOld, step: str, attempt: object) -> str | None:
        """Repeat the same request until it is answered, as phones do; its fruit, or None at the end."""
        wanted = {"issue": "code", "verify": "token", "certify": "certificate", "publish": "revisionToken"}
        deadline = time.monotonic() + PATIENCE_SECONDS
        while time.monotonic() < deadline:
            try:
                answer = attempt()  # type: ignore[operator]
            except (OSError, ValueError):
                if self.ended.is_set():
                    return None
                time.sleep(TICK_SECONDS)
                continue
            if answer.status == 200:
                return str(answer.body[wanted[step]])
            if answer.status < 500:
                self.faults.append(f"{step}: {answer.status} {answer.body}")
                return None
        self.faults.append(f"{step}: no answer in time")
        return None

    def _watch_for_ever(self) -> None:
        while not self.ended.is_set():
            try:
                self._watch()
            except (OSError, AssertionError):
                time.sleep(TICK_SECONDS)
            time.sleep(TICK_SECONDS)

    def _watch(self) -> None:
        for name in self.registry.file_names():
            digest = hashlib.sha256(self.registry.get(f"/exposures/{name}")).hexdigest()
            if self.first_seen.setdefault(name, digest) != digest:
                self.changed.append(name)
        gone = set(self.first_seen) - set(self.registry.file_names())
        self.changed.extend(f"{name} is gone" for name in gone)

    def _published(self) -> list[bytes]:
        keys = []
        for name in self.registry.file_names():
            with zipfile.ZipFile(BytesIO(self.registry.get(f"/exposures/{name}"))) as archive:
                keys += [key.key_data for key in decode_export(archive.read("export.bin")).keys]
        return keys

    def _all_are_out(self) -> bool:
        try:
            return self.acknowledged <= set(self._published())
        except (OSError, AssertionError):
            return False
