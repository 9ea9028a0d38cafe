"""How often the API is asked, and how calls end: counted around every method.

Names and labels are those that gRPC servers have in Prometheus everywhere (`grpc_server_…`), so ready-made dashboards
work. Methods that are not ours count as one, because anybody may ask for any name.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from threading import Lock
from typing import Any, NamedTuple

import grpc

_UNKNOWN = "unknown"


class Method(NamedTuple):
    """Type, service and method of a call, as labels."""

    kind: str
    service: str
    name: str


class CallCounter(grpc.ServerInterceptor):  # type: ignore[misc]
    """Counts calls; from any thread."""

    def __init__(self) -> None:
        self.started: Counter[Method] = Counter()
        self.handled: Counter[tuple[Method, str]] = Counter()
        self.received: Counter[Method] = Counter()
        self.sent: Counter[Method] = Counter()
        self._lock = Lock()

    def intercept_service(self, continuation: Callable[[Any], Any], details: Any) -> Any:
        """Called for every call: hands out the method, wrapped."""
        handler = continuation(details)
        if handler is None:
            self._end(Method(_UNKNOWN, _UNKNOWN, _UNKNOWN), grpc.StatusCode.UNIMPLEMENTED)
            return None
        if handler.request_streaming:
            return handler  # reflection alone, where nobody counts
        _, service, name = details.method.split("/", 2)
        if handler.response_streaming:
            method = Method("server_stream", service, name)
            wrapped, make = self._streaming(method, handler.unary_stream), grpc.unary_stream_rpc_method_handler
        else:
            method = Method("unary", service, name)
            wrapped, make = self._single(method, handler.unary_unary), grpc.unary_unary_rpc_method_handler
        return make(wrapped, handler.request_deserializer, handler.response_serializer)

    def _single(self, method: Method, answer: Callable[[Any, Any], Any]) -> Any:
        def counted(request: Any, context: Any) -> Any:
            self._begin(method)
            try:
                response = answer(request, context)
            except BaseException:
                self._end(method, _code(context) or grpc.StatusCode.UNKNOWN)
                raise
            self._send(method)
            self._end(method, _code(context) or grpc.StatusCode.OK)
            return response

        return counted

    def _streaming(self, method: Method, answer: Callable[[Any, Any], Iterator[Any]]) -> Any:
        def counted(request: Any, context: Any) -> Iterator[Any]:
            self._begin(method)
            failure = grpc.StatusCode.CANCELLED
            try:
                for response in answer(request, context):
                    self._send(method)
                    yield response
                failure = grpc.StatusCode.OK
            except Exception:
                failure = grpc.StatusCode.UNKNOWN
                raise
            finally:
                self._end(method, _code(context) or failure)

        return counted

    def _begin(self, method: Method) -> None:
        with self._lock:
            self.started[method] += 1
            self.received[method] += 1

    def _send(self, method: Method) -> None:
        with self._lock:
            self.sent[method] += 1

    def _end(self, method: Method, code: grpc.StatusCode) -> None:
        with self._lock:
            self.handled[method, _word(code)] += 1


def _code(context: Any) -> grpc.StatusCode | None:
    """What a method set or aborted with; None where it did not say."""
    code = context.code()
    return code if isinstance(code, grpc.StatusCode) and code is not grpc.StatusCode.OK else None


def _word(code: grpc.StatusCode) -> str:
    """`InvalidArgument`, as gRPC's own tools write codes; `OK` stays."""
    return code.name if code is grpc.StatusCode.OK else "".join(part.capitalize() for part in code.name.split("_"))
