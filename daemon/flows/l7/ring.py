"""The side table of the flow store: application messages by the number in a record's field `l7`.

Messages differ in size, so they lie encoded one behind the other in one block of memory, and two columns say where.
The oldest go when either the slots or the bytes run out. Pages of the block are touched only when they are filled.
One thread writes; readers of other threads notice when a message was overwritten under them.
"""

from __future__ import annotations

import msgspec
import numpy as np

from daemon.flows.l7.messages import L7Message

SLOTS = 65_536
BYTES = 8 * 1024 * 1024
_LAST_REF = 2**32 - 1


class MessageRing:
    """Keeps the last messages, at most `slots` of them and `size` bytes of encoded text."""

    def __init__(self, slots: int = SLOTS, size: int = BYTES) -> None:
        self._slots = slots
        self._size = size
        self._block = np.empty(size, np.uint8)
        self._refs = np.zeros(slots, np.uint32)
        self._at = np.zeros(slots, np.uint64)
        self._lengths = np.zeros(slots, np.uint32)
        self._ref = 0
        self._end = 0
        self._encoder = msgspec.msgpack.Encoder()
        self._decoder: msgspec.msgpack.Decoder[L7Message] = msgspec.msgpack.Decoder(L7Message)

    def put(self, message: L7Message) -> int:
        """Keep a message; returns its number, never 0."""
        raw = self._encoder.encode(message)
        if len(raw) > self._size:
            raise ValueError(f"a message of {len(raw)} bytes does not fit into {self._size}; make the ring larger")
        start = self._reserve(len(raw))
        self._block[start % self._size : start % self._size + len(raw)] = np.frombuffer(raw, np.uint8)
        self._ref = self._ref + 1 if self._ref < _LAST_REF else 1
        slot = self._ref % self._slots
        self._at[slot], self._lengths[slot], self._refs[slot] = start, len(raw), self._ref
        return self._ref

    def get(self, ref: int) -> L7Message | None:
        """The message of that number, None when it is none or was overwritten."""
        slot = ref % self._slots
        if not ref or int(self._refs[slot]) != ref:
            return None
        start = int(self._at[slot])
        offset = start % self._size
        raw = self._block[offset : offset + int(self._lengths[slot])].tobytes()
        if self._end - start > self._size or int(self._refs[slot]) != ref:
            return None
        return self._decoder.decode(raw)

    def _reserve(self, length: int) -> int:
        """Where the next `length` bytes go; a message never wraps. Readers see the claim before any byte changes."""
        start = self._end
        room = self._size - start % self._size
        if room < length:
            start += room
        self._end = start + length
        return start
