"""Enqueue a training by XADD: REDIS_URL=redis://... python enqueue_stream.py request.json

Prints the answer; the exit code is 1 if the request was refused. Needs `pip install redis`.
"""

import json
import os
import sys
from pathlib import Path

from redis import Redis

request = {"action": "start", **json.loads(Path(sys.argv[1]).read_text())}
redis = Redis.from_url(os.environ["REDIS_URL"], decode_responses=True)
newest = redis.xrevrange("training:replies", count=1)
last = newest[0][0] if newest else "0"
request_id = redis.xadd("training:requests", {"request": json.dumps(request)})

while True:
    ((_, entries),) = redis.xread({"training:replies": last}, block=0)
    for entry, reply in entries:
        last = entry
        if reply["request_id"] == request_id:
            print(reply["message"])
            sys.exit(0 if reply["success"] == "true" else 1)
