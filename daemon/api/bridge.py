"""Calls run in the agent's loop, their answers are sent from threads.

What answers a call is a coroutine, because all that it touches belongs to the loop. grpcio's own asyncio server sends a
message in two turns of the loop, with a thread of its own between them; its threaded server sends one and a half times
as many. So each call has a thread that waits for what the loop has to say and writes it, a whole list at a time where
answers come by the list.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterator
from concurrent.futures import CancelledError, Future
from typing import Any

import grpc

_END = object()


class Bridge(grpc.ServerInterceptor):  # type: ignore[misc]
    """Makes methods that are coroutines, or asynchronous generators, into ones that block; for calls of one request."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop

    def intercept_service(self, continuation: Callable[[Any], Any], details: Any) -> Any:
        """Called for every call: hands out the method, wrapped."""
        handler = continuation(details)
        if handler is None or handler.request_streaming:
            return handler
        if handler.response_streaming:
            wrapped, make = self._streaming(handler.unary_stream), grpc.unary_stream_rpc_method_handler
        else:
            wrapped, make = self._single(handler.unary_unary), grpc.unary_unary_rpc_method_handler
        return make(wrapped, handler.request_deserializer, handler.response_serializer)

    def _single(self, answer: Callable[[Any, Any], Awaitable[Any]]) -> Any:
        def blocking(request: Any, context: Any) -> Any:
            try:
                return _Call(self._loop, context).wait(_awaited(answer(request, Context(context))))
            except CancelledError:
                return context.abort(grpc.StatusCode.CANCELLED, "nobody waits for the answer any more")

        return blocking

    def _streaming(self, answer: Callable[[Any, Any], AsyncIterator[Any]]) -> Any:
        def blocking(request: Any, context: Any) -> Iterator[Any]:
            call, answers = _Call(self._loop, context), answer(request, Context(context))
            try:
                while (one := call.wait(_next(answers))) is not _END:
                    if isinstance(one, list):
                        yield from one
                    else:
                        yield one
            except CancelledError:
                return
            finally:
                asyncio.run_coroutine_threadsafe(_close(answers), self._loop)

        return blocking


class Context:
    """As much of a call's context as methods use, for use in the loop."""

    def __init__(self, context: Any) -> None:
        self._context = context

    async def abort(self, code: grpc.StatusCode, details: str) -> None:
        """End the call with an error; raises what ends the method."""
        self._context.abort(code, details)

    @property
    def local(self) -> bool:
        """Does the caller come by the node's own socket?"""
        return str(self._context.peer()).startswith("unix:")

    async def send_initial_metadata(self, metadata: tuple[tuple[str, str], ...]) -> None:
        """Send headers before the first answer."""
        self._context.send_initial_metadata(metadata)


class _Call:
    """What a call waits for; is given up when the client goes away."""

    def __init__(self, loop: asyncio.AbstractEventLoop, context: Any) -> None:
        self._loop = loop
        self._future: Future[Any] | None = None
        self._ended = not context.add_callback(self._end)

    def wait(self, work: Coroutine[Any, Any, Any]) -> Any:
        """The result of what runs in the loop; raises CancelledError when the call has ended."""
        self._future = asyncio.run_coroutine_threadsafe(work, self._loop)
        if self._ended:
            self._future.cancel()
        return self._future.result()

    def _end(self) -> None:
        self._ended = True
        if self._future is not None:
            self._future.cancel()


async def _awaited(answer: Awaitable[Any]) -> Any:
    return await answer


async def _next(answers: AsyncIterator[Any]) -> Any:
    return await anext(answers, _END)


async def _close(answers: Any) -> None:
    await answers.aclose()
