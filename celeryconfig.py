"""Celery's settings, each with its reason.

Measured with Celery 5.7 on Redis: early acknowledgement without prefetch is the mode in which
the broker itself makes no duplicate in any connection fault; what a crash loses, the job
store's lease brings back.
"""

from __future__ import annotations

from trainyard.contract.names import (
    BROKER_PREFIX,
    PRIORITY_LAST,
    QUEUE_GPU,
    TASK_GENERATE,
    TASK_TRAIN,
)
from trainyard.redis_url import parse_redis_url
from trainyard.settings import settings

SOCKET_TIMEOUT_S, HEALTH_CHECK_S = 5.0, 5

_redis = parse_redis_url(settings().redis_location)
broker_url = _redis.broker_url
broker_use_ssl = _redis.broker_use_ssl
broker_connection_retry_on_startup = True  # the worker may be up before Redis is

# JSON only: a pickle in a queue is code that anybody with access to Redis runs here.
task_serializer = "json"
result_serializer = "json"
event_serializer = "json"
accept_content = ["json"]

# The job store holds every outcome. A result backend would report a finished training as failed
# when Redis is away at the wrong moment, and would be one more copy of everything.
task_ignore_result = True
result_backend = None

# Early ack: late ack ran a job twice at the same time after a plain TCP reset.
task_acks_late = False
task_reject_on_worker_lost = False
# One job at a time on a GPU, and none that waits behind it while another slot idles.
worker_concurrency = 1
worker_prefetch_multiplier = 1
worker_disable_prefetch = True
# The pool child holds no model: the training has its own process, so a child may live on.
worker_max_tasks_per_child = None
# A training may last for days; hangs are the supervisor's to see.
task_time_limit = None
task_soft_time_limit = None
# A connection reset must not kill a training that does not need the broker while it runs.
worker_cancel_long_running_tasks_on_connection_loss = False

# The supervisor reads the training's own output; Celery's proxies would take stdout's fileno.
worker_redirect_stdouts = False
worker_hijack_root_logger = True
# Flower and `celery events` show what waits and what runs without -E on the command line.
worker_send_task_events = True
task_send_sent_event = True
task_track_started = False  # without a result backend there is nowhere to write it

# Priorities 0 (first) to 9, in this order before the order of the queues. The separator stays
# kombu's own: it also divides the bindings that every other Celery client reads and writes.
broker_transport_options = {
    "global_keyprefix": BROKER_PREFIX,
    "priority_steps": list(range(PRIORITY_LAST + 1)),
    "queue_order_strategy": "priority",
    # A peer that vanishes without a word (a NAT, a failover) costs seconds, not for ever: a publish
    # ends by the socket's time-out, a fetch that is overdue by the health check's interval.
    "socket_timeout": SOCKET_TIMEOUT_S,
    "socket_connect_timeout": SOCKET_TIMEOUT_S,
    "socket_keepalive": True,
    "health_check_interval": HEALTH_CHECK_S,
    **_redis.broker_transport_options,
}
task_default_queue = QUEUE_GPU
task_create_missing_queues = True
task_routes = {task: {"queue": QUEUE_GPU} for task in (TASK_TRAIN, TASK_GENERATE)}
timezone = "UTC"
enable_utc = True
