"""A ring buffer read in bulk through its memory map.

BCC and libbpf call back for every record. Here whole spans between the
consumer's and the producer's position are taken as one numpy array; the kernel's
protocol (kernel/bpf/ringbuf.c) is: an 8-byte header before each record, whose
u32 is the length with a busy and a discard bit; records aligned to 8 bytes, so
that a header never wraps. The kernel offers the data twice in a row, but all
that is mapped counts as memory of the process; so it is mapped once, and the one
record that wraps is put together here.
"""

from __future__ import annotations

import mmap
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ebpf import libbpf
from ebpf.errors import PinError

HEADER = 8
BUSY = np.uint32(1 << 31)
DISCARD = np.uint32(1 << 30)
_LENGTH = (1 << 30) - 1


class RingBuffer:
    """One pinned ring buffer. One reader at a time; raises PinError where it cannot be mapped."""

    def __init__(self, path: Path, size: int) -> None:
        self.fd = libbpf.obj_get(path)
        self.size = size
        page = mmap.PAGESIZE
        try:
            self._consumer = mmap.mmap(self.fd, page, mmap.MAP_SHARED, mmap.PROT_READ | mmap.PROT_WRITE)
            self._producer = mmap.mmap(self.fd, page + size, mmap.MAP_SHARED, mmap.PROT_READ, offset=page)
        except (OSError, ValueError) as error:
            os.close(self.fd)
            raise PinError(f"cannot map ring buffer {path}: {error}") from error
        self._read_at = np.frombuffer(self._consumer, np.uint64, 1)
        self._write_at = np.frombuffer(self._producer, np.uint64, 1)
        self._data = np.frombuffer(self._producer, np.uint8, offset=page)

    def fill(self) -> int:
        """Bytes that wait to be read."""
        return int(self._write_at[0]) - int(self._read_at[0])

    def rows(self, dtype: np.dtype[Any], limit: int) -> npt.NDArray[Any]:
        """Up to `limit` waiting records of one fixed size as an array of shape (n,); frees their space."""
        parts, taken = [], 0
        while taken < limit:
            part = self._span(dtype.itemsize, limit - taken)
            if part is None:
                break
            parts.append(part)
            taken += len(part)
        if len(parts) == 1:
            return parts[0].view(dtype)
        return np.concatenate(parts).view(dtype) if parts else np.empty(0, dtype)

    def _span(self, size: int, limit: int) -> npt.NDArray[np.void] | None:
        """Finished records up to where the ring wraps, or the one that wraps; None when there is none."""
        stride = HEADER + (size + 7 & ~7)
        start, offset = int(self._read_at[0]), int(self._read_at[0]) % self.size
        ready = min((int(self._write_at[0]) - start) // stride, limit)
        whole = min((self.size - offset) // stride, ready)
        if ready <= 0:
            return None
        source = self._data[offset : offset + whole * stride] if whole else self._bytes(offset, stride)
        found, done = _finished(source, size, stride)
        self._read_at[0] = start + done * stride
        return found if done else None

    def records(self, limit: int) -> Iterator[bytes]:
        """Up to `limit` waiting records of any size, one by one; frees their space when the iteration ends."""
        position, end = int(self._read_at[0]), int(self._write_at[0])
        try:
            while position < end and limit:
                offset = position % self.size
                head = int(self._data[offset : offset + 4].view(np.uint32)[0])
                if head & BUSY:
                    return
                length = head & _LENGTH
                record = b"" if head & DISCARD else self._bytes((offset + HEADER) % self.size, length).tobytes()
                position += HEADER + (length + 7 & ~7)
                limit -= 1
                if record:
                    yield record
        finally:
            self._read_at[0] = position

    def _bytes(self, offset: int, length: int) -> npt.NDArray[np.uint8]:
        """Bytes from an offset on, put together where they wrap."""
        first = self._data[offset : offset + length]
        return first if len(first) == length else np.concatenate((first, self._data[: length - len(first)]))

    def close(self) -> None:
        """Unmap and close; the pinned buffer stays. Arrays that were returned are copies and stay valid."""
        del self._read_at, self._write_at, self._data
        self._consumer.close()
        self._producer.close()
        os.close(self.fd)


def _finished(source: npt.NDArray[np.uint8], size: int, stride: int) -> tuple[npt.NDArray[np.void], int]:
    """Copies of the records in a span, up to the first that is still being written, and how many were passed."""
    count = len(source) // stride
    heads = np.ndarray((count,), np.uint32, source, 0, (stride,))
    records = np.ndarray((count,), np.dtype((np.void, size)), source, HEADER, (stride,))
    if (heads == size).all():
        return records.copy(), count
    busy = np.flatnonzero(heads & BUSY)
    done = int(busy[0]) if len(busy) else count
    return records[:done][heads[:done] == size], done
