"""The clients: they submit, race, cancel and ask over HTTP, on whichever web process answers, and note what they hear.

A request without an answer (a broken connection, a timeout, a 5xx) may have been done or not. It is repeated where
repeating is safe: with an Idempotency-Key, for a cancel, for a GET. Otherwise it stays unknown, and the checker knows.
"""

from __future__ import annotations

import asyncio
import itertools
import random
from typing import Any

import httpx

from tests.chaos.history import History
from tests.chaos.plan import Plan, PlannedJob
from tests.chaos.streams import Follower

PATIENCE_SEC = 120.0
"""A client that may repeat its request gives up after so long."""
HEARING_SEC = 30.0
"""When all jobs have ended, their followers know it after so long."""
LOOKS_PER_SEC = 10.0
"""GETs of random jobs while the run lasts."""
MOST_LOOKS = 1000
"""GETs of single jobs when all have ended."""
LOOKS_AT_ONCE = 8
BATCH_EVERY_SEC = 10.0
"""What is to be submitted in batches is gathered for so long."""


class Workload:
    """All clients of one run. `accepted`: plan number → id, of every job that a client was given."""

    def __init__(
        self, plan: Plan, history: History, *, bases: list[str], headers: dict[str, str], ledger: str, callback_url: str
    ) -> None:
        self.accepted: dict[int, str] = {}
        self._plan, self._history = plan, history
        self._bases, self._headers = bases, headers
        self._ledger, self._callback_url = ledger, callback_url
        self._dice = random.Random(plan.seed)
        self._batch: list[tuple[dict[str, Any], asyncio.Future[tuple[int | None, str | None]]]] = []
        self._followers: list[asyncio.Task[None]] = []
        self._submitted = {job.number: asyncio.Event() for job in plan.jobs}
        # A connection for each request: a pool would make one client wait for another's broken connection.
        self._http = self._client(kept=0)

    def _client(self, *, kept: int) -> httpx.AsyncClient:
        limits = httpx.Limits(max_connections=None, max_keepalive_connections=kept)
        return httpx.AsyncClient(headers=self._headers, timeout=10, trust_env=False, limits=limits)

    async def run(self) -> None:
        """Submit every job at its time, and do with it what is planned."""
        started = asyncio.get_running_loop().time()
        looking, batching = asyncio.create_task(self._look_around()), asyncio.create_task(self._submit_batches())
        async with asyncio.TaskGroup() as clients:
            for job in self._plan.jobs:
                await asyncio.sleep(max(0.0, started + job.at_sec - asyncio.get_running_loop().time()))
                clients.create_task(self._life(job))
        looking.cancel()
        batching.cancel()

    async def hear_of_all_ends(self) -> None:
        """All jobs have ended: the followers have HEARING_SEC to hear of it."""
        if self._followers:
            _, deaf = await asyncio.wait(self._followers, timeout=HEARING_SEC)
            for follower in deaf:
                follower.cancel()

    async def look_at_all(self) -> None:
        """See every job once more in the list, and MOST_LOOKS of the accepted ones each by itself."""
        await self._http.aclose()
        # Nothing breaks connections any more.
        self._http = self._client(kept=LOOKS_AT_ONCE)
        await self._list_all()
        at_once = asyncio.Semaphore(LOOKS_AT_ONCE)

        async def look(job_id: str) -> None:
            async with at_once:
                await self._patiently(self._get, job_id, "final")

        ids = sorted(self.accepted.values())
        await asyncio.gather(*(look(job_id) for job_id in self._dice.sample(ids, min(MOST_LOOKS, len(ids)))))

    async def _list_all(self) -> None:
        """Note what the list says of every job, and which accepted ones it leaves out."""
        unseen: set[str] = set(self.accepted.values())
        give_up_at = self._history.now() + PATIENCE_SEC
        page: dict[str, Any] = {"limit": 200, "cursor": ""}
        while page["cursor"] is not None and self._history.now() < give_up_at:
            began = self._history.now()
            answer = await self._ask("GET", "/v1/jobs", params=page)
            if answer is None or not answer.is_success:
                continue
            for job in answer.json()["jobs"]:
                self._history.add("seen", began=began, job=job["id"], status=job["status"], by="list", code=200)
                unseen.discard(job["id"])
            page["cursor"] = answer.json()["next_cursor"]
        for job_id in unseen:
            self._history.add("seen", began=give_up_at, job=job_id, status="absent", by="list", code=200)

    async def close(self) -> None:
        """Hang up."""
        await self._http.aclose()

    async def _life(self, job: PlannedJob) -> None:
        body = await self._body(job)
        answers = await asyncio.gather(*(self._submit(job, body) for _ in range(job.racers)))
        job_id = next((answer for answer in answers if answer), None)
        if job_id is not None:
            self.accepted[job.number] = job_id
        self._submitted[job.number].set()
        if job_id is None:
            return
        if job.followed is not None:
            dice = random.Random(f"{self._plan.seed}/follow/{job.number}")
            follower = Follower(job_id, job.followed, self._bases, self._headers, self._history, dice)
            self._followers.append(asyncio.create_task(follower.run()))
        if job.cancel_after_sec is not None:
            await asyncio.sleep(job.cancel_after_sec)
            await self._patiently(self._cancel, job_id, "cancel")
        if job.cancel_child_after_sec is not None:
            await asyncio.sleep(job.cancel_child_after_sec)
            await self._patiently(self._cancel_child, _child_tag(job), "cancel")

    async def _body(self, job: PlannedJob) -> dict[str, Any]:
        for number in job.after:
            await self._submitted[number].wait()
        needed = [self.accepted[number] for number in job.after if number in self.accepted]
        input_ = {"ledger": self._ledger, **job.input, "child_mark": f"86400.{self._plan.seed}", "tag": _child_tag(job)}
        return {
            "type": job.type,
            "queue": job.queue,
            "input": input_ | ({"depends_on": needed} if needed else {}),
            **job.flow,
            "max_attempts": job.max_attempts,
            "timeout_sec": job.timeout_sec,
            "priority": self._dice.randint(0, 10) if job.priority is None else job.priority,
            "tags": [f"p{job.number}"],
        } | ({"callback_url": self._callback_url} if job.calls_back else {})

    async def _submit(self, job: PlannedJob, body: dict[str, Any]) -> str | None:
        give_up_at = self._history.now() + PATIENCE_SEC
        headers = {"Idempotency-Key": job.key} if job.key else {}
        for tries in itertools.count():
            began = self._history.now()
            code, job_id = await (self._in_batch(body) if job.batched else self._alone(body, headers))
            self._history.add(
                "submit", began=began, plan=job.number, key=job.key, job=job_id, code=code, unique=job.unique_key
            )
            unknown = code is None or code >= 500
            if not unknown or job.key is None or self._history.now() > give_up_at:
                break
            await self._wait(tries)
        return job_id

    async def _alone(self, body: dict[str, Any], headers: dict[str, str]) -> tuple[int | None, str | None]:
        """The status of the answer, and the job's id."""
        answer = await self._ask("POST", "/v1/jobs", json=body, headers=headers)
        if answer is None:
            return None, None
        return answer.status_code, answer.json()["job"]["id"] if answer.is_success else None

    async def _in_batch(self, body: dict[str, Any]) -> tuple[int | None, str | None]:
        told: asyncio.Future[tuple[int | None, str | None]] = asyncio.get_running_loop().create_future()
        self._batch.append((body, told))
        return await told

    async def _submit_batches(self) -> None:
        while True:
            await asyncio.sleep(BATCH_EVERY_SEC)
            gathered, self._batch = self._batch, []
            if gathered:
                answer = await self._ask("POST", "/v1/jobs/batch", json={"jobs": [body for body, _ in gathered]})
                results = answer.json()["results"] if answer is not None and answer.is_success else []
                for place, (_, told) in enumerate(gathered):
                    job_id = results[place]["job"]["id"] if results else None
                    told.set_result((answer.status_code if answer is not None else None, job_id))

    async def _wait(self, tries: int) -> None:
        """Longer each time: clients that only repeat would keep a web that has just come back from coming back."""
        await asyncio.sleep(self._dice.uniform(0.1, min(8.0, 0.5 * 2**tries)))

    async def _cancel(self, job_id: str, by: str) -> bool:
        return await self._see("POST", f"/v1/jobs/{job_id}/cancel", job_id, by)

    async def _cancel_child(self, tag: str, by: str) -> bool:
        """Cancel one of a parent's children, if there are any."""
        answer = await self._ask("GET", "/v1/jobs", params={"tag": tag})
        if answer is None or not answer.is_success:
            return False
        found = [job["id"] for job in answer.json()["jobs"]]
        return not found or await self._cancel(self._dice.choice(found), by)

    async def _get(self, job_id: str, by: str) -> bool:
        return await self._see("GET", f"/v1/jobs/{job_id}", job_id, by)

    async def _see(self, method: str, path: str, job_id: str, by: str) -> bool:
        """Note the state that an answer shows. Whether there was an answer: a 409 is one too."""
        began = self._history.now()
        answer = await self._ask(method, path)
        if answer is None or answer.status_code >= 500:
            return False
        if answer.is_success:
            self._history.add(
                "seen", began=began, job=job_id, status=answer.json()["job"]["status"], by=by, code=answer.status_code
            )
        elif answer.status_code != 409:
            self._history.add("seen", began=began, job=job_id, status="absent", by=by, code=answer.status_code)
        return True

    async def _patiently(self, ask: Any, job_id: str, by: str) -> None:
        give_up_at = self._history.now() + PATIENCE_SEC
        for tries in itertools.count():
            if await ask(job_id, by) or self._history.now() > give_up_at:
                return
            await self._wait(tries)

    async def _look_around(self) -> None:
        asking: set[asyncio.Task[bool]] = set()
        while True:
            await asyncio.sleep(1 / LOOKS_PER_SEC)
            if self.accepted:
                # Mostly young ones: they change.
                number = max(self.accepted) - int(self._dice.expovariate(1 / 100))
                if number in self.accepted:
                    task = asyncio.create_task(self._get(self.accepted[number], "get"))
                    asking.add(task)
                    task.add_done_callback(asking.discard)

    async def _ask(self, method: str, path: str, **request: Any) -> httpx.Response | None:
        try:
            return await self._http.request(method, self._dice.choice(self._bases) + path, **request)
        except httpx.TransportError:
            return None


def _child_tag(job: PlannedJob) -> str:
    """What the children of a parent are found by."""
    return f"c{job.number}"
