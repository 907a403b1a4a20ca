"""Enqueue a training through Celery: REDIS_URL=redis://... python enqueue_celery.py request.json

Prints the task's id, then the answer; the exit code is 1 if the request was refused. No result is
kept in Celery: what becomes of the job the backend hears. Needs `pip install "celery[redis]"`.
"""

import json
import os
import sys
from pathlib import Path

from celery import Celery
from redis import Redis

url = os.environ["REDIS_URL"]
request = json.loads(Path(sys.argv[1]).read_text())
redis = Redis.from_url(url, decode_responses=True)
newest = redis.xrevrange("training:replies", count=1)
last = newest[0][0] if newest else "0"

with Celery(broker=url) as client:
    task = client.send_task(
        "tasks.submit", kwargs={"request": request}, queue="requests", ignore_result=True
    )
print(task.id, flush=True)

while True:
    ((_, entries),) = redis.xread({"training:replies": last}, block=0)
    for entry, reply in entries:
        last = entry
        if reply["request_id"] == task.id:
            print(reply["message"])
            sys.exit(0 if reply["success"] == "true" else 1)
