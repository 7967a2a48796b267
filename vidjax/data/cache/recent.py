"""A small cache of results that several threads request at once, each computed once."""

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable
from concurrent.futures import Future
from typing import Any


class ComputeOnceCache:
    """The last few results of a function, shared between threads: each is computed once, failures too.

    The views of one video follow each other in evaluation; this decodes the video once for all of them.

    Args:
      size: how many results are kept.
    """

    def __init__(self, size: int):
        self.size = size
        self._lock = threading.Lock()
        self._results: OrderedDict[Hashable, Future[Any]] = OrderedDict()

    def get(self, key: Hashable, compute: Callable[[], Any]) -> Any:
        """Returns compute(), or what it returned or raised for this key before."""
        with self._lock:
            held = self._results.get(key)
            if held is None:
                future: Future[Any] = Future()
                self._results[key] = future
                if len(self._results) > self.size:
                    self._results.popitem(last=False)
        if held is not None:
            return held.result()
        try:
            future.set_result(compute())
        except BaseException as error:
            future.set_exception(error)
        return future.result()

    def __getstate__(self) -> dict[str, Any]:
        return {"size": self.size}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(state["size"])  # type: ignore[misc]
