"""A service of jobs on FastAPI, Celery and Redis, with the same requests as gather.

    uvicorn service:api            the API
    celery -A service worker       the workers
"""

import asyncio
import json
import os
import uuid
from typing import List, Optional

import redis.asyncio as redis
from celery import Celery
from fastapi import FastAPI, Header
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import JSONResponse
from pydantic import BaseModel

store = os.environ["STORE"]
app = Celery("service", broker=store, backend=store)


@app.task(name="squares")
def squares(numbers):
    return [n * n for n in numbers]


class Job(BaseModel):
    numbers: List[int]


api = FastAPI()
waiting = {}  # futures of results, by ID
finished = 0


async def results(subscription):
    """Hands the results, which Celery publishes when it has stored them, to the requests that wait."""
    global finished
    async for message in subscription.listen():
        if message["type"] != "pmessage":
            continue
        finished += 1
        task = message["channel"].decode().removeprefix("celery-task-meta-")
        if task in waiting:
            waiting.pop(task).set_result(json.loads(message["data"])["result"])


@api.on_event("startup")
async def subscribe():
    subscription = redis.from_url(store).pubsub()
    await subscription.psubscribe("celery-task-meta-*")
    api.state.results = asyncio.create_task(results(subscription))


@api.post("/v1/jobs")
async def submit(job: Job, prefer: Optional[str] = Header(None)):
    task = str(uuid.uuid4())
    result = None
    if prefer:
        result = waiting[task] = asyncio.get_running_loop().create_future()
    await run_in_threadpool(squares.apply_async, (job.numbers,), task_id=task)
    if result is None:
        return JSONResponse({"id": task}, status_code=202)
    return JSONResponse({"id": task, "result": await asyncio.wait_for(result, 30)})


@api.get("/finished")
async def count():
    return {"finished": finished}
