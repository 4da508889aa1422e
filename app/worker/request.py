"""What a worker's main process does with a message: it names the task in what it logs of it."""

from contextlib import AbstractContextManager
from typing import Any

from celery.worker.request import Request

from app.logging_config import log_ids
from app.tracing import trace_id_in


class NamedRequest(Request):
    """The child that worked on the task names it in its own lines; one that was killed has no more of these."""

    def on_failure(self, exc_info: Any, send_failed_event: bool = True, return_ok: bool = False) -> Any:
        with self._named():
            return super().on_failure(exc_info, send_failed_event, return_ok)

    def on_timeout(self, soft: bool, timeout: float) -> Any:
        with self._named():
            return super().on_timeout(soft, timeout)

    def _named(self) -> AbstractContextManager[None]:
        ids = {"task_id": self.id, "task_name": self.task_name}
        trace_id = trace_id_in(self.request_dict)
        return log_ids(**ids) if trace_id is None else log_ids(**ids, trace_id=trace_id)
