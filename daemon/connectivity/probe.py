"""The clients of the connectivity test: `python -m daemon.connectivity.probe …` in a workload's namespace.

    http ADDRESS PORT COUNT   so many requests, a connection each
    dns SERVER NAME           one query for an A record

Prints one line of JSON: a list of `{"answer": …, "error": …, "ms": …}`, where an error is an errno's name or `timeout`.
"""

from __future__ import annotations

import errno
import http.client
import json
import sys
import time
from collections.abc import Callable

PATIENCE = 2.0  # s for an answer


def http_request(address: str, port: int) -> str:
    """Who answers; raises OSError."""
    connection = http.client.HTTPConnection(address, port, timeout=PATIENCE)
    try:
        connection.request("GET", "/whoami")
        return connection.getresponse().read().decode()
    finally:
        connection.close()


def dns_query(server: str, name: str) -> str:
    """The addresses of a name; raises OSError."""
    import dns.exception
    import dns.message
    import dns.query

    try:
        answer = dns.query.udp(dns.message.make_query(name, "A"), server, timeout=PATIENCE)
    except dns.exception.Timeout as error:
        raise TimeoutError from error
    return " ".join(str(item) for found in answer.answer for item in found)


def attempt(work: Callable[[], str]) -> dict[str, object]:
    """What came of it, and how long it took."""
    began, answer, error = time.perf_counter(), "", ""
    try:
        answer = work()
    except TimeoutError:
        error = "timeout"
    except OSError as failure:
        error = errno.errorcode.get(failure.errno or 0, str(failure))
    return {"answer": answer, "error": error, "ms": round(1000 * (time.perf_counter() - began), 3)}


def requests(address: str, port: int, count: int) -> list[dict[str, object]]:
    """So many requests, fewer where one is not answered in time: the others would not be either."""
    answers: list[dict[str, object]] = []
    while len(answers) < count and not (answers and answers[-1]["error"] == "timeout"):
        answers.append(attempt(lambda: http_request(address, port)))
    return answers


def told(arguments: list[str]) -> list[dict[str, object]]:
    """What came of what the arguments say."""
    kind, where, *rest = arguments
    if kind == "dns":
        return [attempt(lambda: dns_query(where, rest[0]))]
    return requests(where, int(rest[0]), int(rest[1]))


if __name__ == "__main__":
    print(json.dumps(told(sys.argv[1:])), flush=True)
