"""The truth of the simulator: what the documented API does with each call, and what clients did wrong.

No I/O but the journal, no clock but `now`.
"""

from __future__ import annotations

import hashlib
import json
import math
import random
import re
import threading
from collections import Counter, deque
from collections.abc import Callable
from email.utils import formatdate
from urllib.parse import urlsplit

from batcher.catalog import Model, get_model, model_ids

from .books import Books
from .journal import Journal
from .records import (
    ApiAnswer,
    Call,
    Json,
    Oracle,
    Rejection,
    Scene,
    Seen,
    StoredUpload,
    Task,
    Violation,
    digest,
    format_of,
    invalid,
)
from .rules import Part, check_request_id, check_upload, describe, metered, model_of, read_create, read_multipart
from .switches import SCOPES, Limit, Switches
from .views import show_task, show_upload

#: Credits of a job: the model, the request's params, whether it has a reference.
Price = Callable[[Model, Json, bool], int]

_NOTHING = Part(None, b"")


def base_price(model: Model, params: Json, has_reference: bool) -> int:
    """The catalogue's price, whatever the settings (rivya-api.md section 8 leaves the rest open)."""
    del params, has_reference
    return model.base_credits


class World:
    """The account behind the API.

    `now` gives seconds since the epoch. `seed` decides ids, waiting times and failures; each task's depend on
    the seed and its idempotency key (its number, if it has none), not on the order of requests. `wallet` is the
    credits at the first start; a journal that remembers another one wins.
    """

    def __init__(
        self,
        *,
        now: Callable[[], float],
        seed: int = 1,
        wallet: int = 1000,
        switches: Switches | None = None,
        price: Price = base_price,
        journal: Journal | None = None,
    ) -> None:
        self.now = now
        self.seed = seed
        self.switches = switches or Switches()
        self._price = price
        self._books = Books(journal or Journal())
        self._requests: list[Seen] = []
        self._violations: list[Violation] = []
        self._windows: dict[Limit, deque[float]] = {}
        # The server lives on one thread; tests look in from another.
        self._lock = threading.RLock()
        if self._books.fresh:
            self.set_wallet(wallet)

    # -- requests

    def arrive(self, call: Call) -> int:
        """Note that a request has arrived; its number, counted from 1."""
        with self._lock:
            number = len(self._requests) + 1
            body = call.body if call.kind == "create" else b""
            authorized = "authorization" in call.headers
            self._requests.append(Seen(number, self.now(), call.kind, call.subject, call.key, body, authorized))
            return number

    def answer(self, call: Call, number: int) -> ApiAnswer:
        """Do what a request asks and say what the API would. `number` as `arrive` gave it."""
        with self._lock:
            self._books.settle(self.now())
            try:
                self._admit(call)
                match call.kind:
                    case "create":
                        return self._create(call)
                    case "status":
                        return ApiAnswer(200, self._view(self._task(call.subject), call.base))
                    case "upload":
                        return self._upload(call)
                    case "file":
                        return ApiAnswer(200, self._file(call))
                    case "credits":
                        return ApiAnswer(200, {"current_credits": self._books.wallet})
                    case "models":
                        return ApiAnswer(200, {"object": "list", "data": [describe(get_model(m)) for m in model_ids()]})
                    case _:
                        return ApiAnswer(200, {}, scene=self._scene(self._result(call.subject)))
            except Rejection as refusal:
                return self.refuse(refusal, number)

    def refuse(self, refusal: Rejection, number: int) -> ApiAnswer:
        """The error envelope of rivya-api.md section 1."""
        error = {"code": refusal.code, "message": refusal.message, "requestId": f"req_{number:06d}"}
        return ApiAnswer(refusal.status, {"error": error}, refusal.headers)

    def retry_after(self, seconds: float, style: str) -> dict[str, str]:
        """A Retry-After header that many seconds from now; `style` is one of `switches.RETRY_AFTER`."""
        whole = max(1, math.ceil(seconds))
        until = math.ceil(self.api_time()) + whole
        date = formatdate(until, usegmt=True)
        says = {"seconds": str(whole), "date": date, "naive": date.removesuffix(" GMT"), "epoch": str(until)}
        return {"retry-after": says[style]} if style in says else {}

    def api_time(self) -> float:
        """What the API's own clock shows."""
        return self.now() + self.switches.clock_skew

    # -- orders

    def set_wallet(self, amount: int) -> None:
        """Put this many credits into the wallet."""
        with self._lock:
            self._books.set_wallet(amount, self.now())

    def expire_uploads(self) -> None:
        """Let go of every file uploaded so far."""
        with self._lock:
            self._books.expire_uploads(self.now())

    def expire_results(self, task_id: str | None = None) -> None:
        """Make the result URLs handed out so far useless: of one task, or of all."""
        with self._lock:
            self._books.expire_results(task_id, self.now())

    # -- what tests look at

    def oracle(self) -> Oracle:
        """A copy of the truth as it is now; may be called from any thread."""
        with self._lock:
            now = self.now()
            self._books.settle(now)
            tasks, files = dict(self._books.tasks), dict(self._books.uploads)
            charges: dict[str, list[int]] = {}
            for task in tasks.values():
                charges.setdefault(task.key, []).append(task.reserved)
            return Oracle(
                wallet=self._books.wallet,
                spent=self._books.spent,
                charges=charges,
                purchases=Counter(task.request.get("client_request_id", "") for task in tasks.values()),
                tasks=tasks,
                states={task.id: task.status(now) for task in tasks.values()},
                files=files,
                uploads=Counter(upload.sha256 for upload in files.values()),
                requests=list(self._requests),
                violations=list(self._violations),
            )

    def prompt_of(self, call: Call) -> str:
        """The prompt of the job that a request is about; an empty text where there is none."""
        with self._lock:
            name = call.subject.rpartition("/")[2].partition(".")[0]
            if call.kind in ("status", "result") and name in self._books.tasks:
                return str(self._books.tasks[name].request.get("prompt", ""))
        try:
            return str(json.loads(call.body)["prompt"]) if call.kind == "create" else ""
        except (ValueError, TypeError, KeyError):
            return ""

    def first_task(self) -> str:
        """The id of the account's first task."""
        with self._lock:
            return next(iter(self._books.tasks))

    def _violation(self, what: str, detail: str) -> None:
        self._violations.append(Violation(self.now(), what, detail))

    # -- who may call, and how often (rivya-api.md sections 0 and 1)

    def _admit(self, call: Call) -> None:
        switches = self.switches
        if call.kind != "result" and switches.outage == "disabled":
            raise Rejection(503, "public_api_disabled", "The public API is switched off.")
        if call.kind in SCOPES:
            word, _, key = call.headers.get("authorization", "").partition(" ")
            if word.lower() != "bearer" or not key:
                raise Rejection(401, "api_key_missing", "Send the key as a bearer token.")
            if not key.startswith("rvya_sk_") or key != switches.api_key:
                raise Rejection(401, "api_key_invalid", "The key cannot be verified.")
            if switches.key_state != "valid":
                raise Rejection(401, f"api_key_{switches.key_state}", f"The key is {switches.key_state}.")
            if SCOPES[call.kind] in switches.scopes_off:
                raise Rejection(403, "api_scope_denied", f"The key lacks the scope {SCOPES[call.kind]}.")
        for limit in switches.limits:
            if call.kind in limit.kinds:
                self._count(limit, call)

    def _count(self, limit: Limit, call: Call) -> None:
        now = self.now()
        window = self._windows.setdefault(limit, deque())
        while window and window[0] <= now - limit.seconds:
            window.popleft()
        if len(window) >= limit.count:
            self._violation("rate_limited", f"{call.kind}: more than {limit.count} in {limit.seconds:g} s")
            # A window that takes nothing at all has no oldest request to wait for.
            wait = window[0] + limit.seconds - now if window else limit.seconds
            headers = self.retry_after(wait, self.switches.retry_after)
            raise Rejection(429, "rate_limited", "Too many requests in the current window.", headers)
        window.append(now)

    # -- generations (rivya-api.md sections 2, 3 and 7)

    def _create(self, call: Call) -> ApiAnswer:
        """Buy a generation, or show the one that this key has bought.

        What a replay gives and what conflicts is not documented. This is the customary reading: the same key with
        the same bytes shows the same task as it is now, without a charge; with other bytes it is a conflict; a
        refused request leaves its key unused. A key that is older than `key_lifetime` is not known any more.
        """
        status = self.switches.create_status
        task = self._books.tasks.get(self._books.keys.get(call.key, ""))
        if task is not None and not self._is_over(task.at, self.switches.key_lifetime):
            if task.body == call.body:
                return ApiAnswer(status, self._view(task, call.base))
            self._violation("idempotency_conflict", f"key {call.key!r} was sent with another body")
            raise Rejection(409, "idempotency_conflict", "The key was used with another body.")
        if not call.key:
            self._violation("no_idempotency_key", f"a create without a key: {call.body[:200]!r}")
        model, request = read_create(call.body, self._find_upload, self.switches.unknown_model)
        task = self._draw(call, model, request)
        if task.reserved > self._books.wallet:
            raise Rejection(self.switches.insufficient_status, "insufficient_credits", "The wallet holds too little.")
        self._books.add_task(task)
        return ApiAnswer(status, self._view(task, call.base))

    def _draw(self, call: Call, model: Model, request: Json) -> Task:
        switches = self.switches
        number = len(self._books.tasks) + 1
        again = (number,) if call.key in self._books.keys else ()
        name = digest(self.seed, "task", call.key or number, *again)
        chance = random.Random(name)  # noqa: S311 (repeatable on purpose)
        params = request.get("params", {})
        price = self._price(model, params, bool(params.get("referenceMediaItems"))) * switches.price_factor
        price *= metered(model, request)
        if switches.price_rise and number > switches.price_rise[0]:
            price *= switches.price_rise[1]
        reserved = math.ceil(price)
        # All three are drawn always, so that changing one switch leaves the others' luck alone.
        queue, run, luck = (
            chance.uniform(*switches.queue_seconds),
            chance.uniform(*switches.run_seconds),
            chance.random(),
        )
        marked = bool(switches.fail_prompt) and switches.fail_prompt in request.get("prompt", "")
        succeeds = not marked and luck >= switches.fail_rate
        return Task(
            id=f"task_{name[:20]}",
            number=number,
            key=call.key,
            body=call.body,
            request=request,
            at=self.now(),
            reserved=reserved,
            final=math.ceil(reserved * (switches.final_factor if succeeds else switches.failed_factor)),
            queue=queue,
            run=run,
            succeeds=succeeds,
        )

    def _task(self, task_id: str) -> Task:
        task = self._books.tasks.get(task_id)
        if task is None:
            raise Rejection(404, "not_found", "There is no such task in this account.")
        return task

    def _view(self, task: Task, base: str) -> Json:
        now = self.now()
        url = self._result_url(task, base) if task.status(now) == "succeeded" else None
        return show_task(task, now, self.switches, url)

    # -- results: how long their URLs live is not documented (rivya-api.md section 9)

    def _result_url(self, task: Task, base: str) -> str:
        issue = self._books.issues.get(task.id)
        if issue is None or issue.dead or self._is_over(issue.at, self.switches.result_lifetime):
            issue = self._books.issue(task.id, self.now())
        return f"{base}/results/{self._result_token(task, issue.number)}/{self._file_name(task)}"

    def _model(self, task: Task) -> Model:
        model = model_of(task.request, self.switches.unknown_model or "video")
        assert model is not None
        return model

    def _result_token(self, task: Task, number: int) -> str:
        return f"{number}-{digest(self.seed, 'result', task.id, number)[:16]}"

    def _file_name(self, task: Task) -> str:
        model = self._model(task)
        return f"{task.id}.{format_of(model.result, model.whole(task.request.get('params', {})))[0]}"

    def _result(self, subject: str) -> Task:
        """The task whose live URL ends in this `token/name`."""
        token, _, name = subject.partition("/")
        task = self._books.tasks.get(name.partition(".")[0])
        number = int(token.partition("-")[0]) if token.partition("-")[0].isdecimal() else 0
        issue = self._books.issues.get(task.id) if task else None
        if (
            task is None
            or issue is None
            or number > issue.number
            or subject != (f"{self._result_token(task, number)}/{self._file_name(task)}")
        ):
            raise Rejection(404, "not_found", "There is no such result.")
        if number < issue.number or issue.dead or self._is_over(issue.at, self.switches.result_lifetime):
            raise Rejection(self.switches.expired_status, "expired", "This URL has expired.")
        return task

    def _is_over(self, since: float, lifetime: float | None) -> bool:
        return lifetime is not None and self.now() >= since + lifetime

    def _scene(self, task: Task) -> Scene:
        model = self._model(task)
        sent = dict(task.request.get("params", {}))
        items = sent.pop("referenceMediaItems", [])
        token = self._upload_token(items[0]["url"]) if items else ""
        upload = self._books.uploads.get(self._books.tokens.get(token, ""))
        return Scene(
            task_id=task.id,
            number=task.number,
            model=model.id,
            result=model.result,
            prompt=task.request.get("prompt", ""),
            params={name: sent.get(name, model.default(name)) for name in model.params},
            client_request_id=task.request.get("client_request_id", ""),
            reference=self._books.journal.load(upload.sha256) if upload else None,
        )

    # -- files (rivya-api.md section 4)

    def _upload(self, call: Call) -> ApiAnswer:
        parts = read_multipart(call.headers.get("content-type", ""), call.body)
        text = {name: part.data.decode("utf-8", "replace") for name, part in parts.items() if name != "file"}
        file = parts.get("file", _NOTHING)
        check_request_id(text.get("client_request_id", ""))
        mime = check_upload(text.get("kind", ""), text.get("model"), file.data)
        name = digest(self.seed, "file", len(self._books.uploads) + 1)
        upload = StoredUpload(
            id=f"file_{name[:20]}",
            token=name[20:],
            name=file.filename or "file",
            kind=text["kind"],
            mime=mime,
            size=len(file.data),
            sha256=hashlib.sha256(file.data).hexdigest(),
            at=self.now(),
        )
        self._books.add_upload(upload, file.data)
        return ApiAnswer(self.switches.upload_status, show_upload(upload, self.now(), self.switches, call.base))

    def _file(self, call: Call) -> Json:
        upload = self._books.uploads.get(call.subject)
        if upload is None or self._has_expired(upload):
            raise Rejection(404, "not_found", "There is no such file in this account.")
        return show_upload(upload, self.now(), self.switches, call.base)

    def _has_expired(self, upload: StoredUpload) -> bool:
        return upload.id in self._books.expired or self._is_over(upload.at, self.switches.upload_lifetime)

    def _upload_token(self, url: str) -> str:
        """The token in an upload's URL. Host and port do not count: they change when the simulator starts again."""
        path = urlsplit(url).path.split("/")
        return path[2] if len(path) == 4 and path[1] == "uploads" else ""

    def _find_upload(self, url: str) -> StoredUpload | None:
        upload = self._books.uploads.get(self._books.tokens.get(self._upload_token(url), ""))
        if upload is not None and self._has_expired(upload):
            raise invalid("params.referenceMediaItems[].url names a file that has expired.")
        until = re.fullmatch(r"until=([\d.]+)", urlsplit(url).query)
        if upload is not None and until and self.now() >= float(until[1]):
            raise invalid("params.referenceMediaItems[].url has expired.")
        return upload
