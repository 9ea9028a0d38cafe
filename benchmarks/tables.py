"""Writing single entries of maps, for datapaths that have no agent."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from ebpf.addresses import pack
from ebpf.datapath import Datapath


def put(datapath: Datapath, name: str, key: Any, **fields: Any) -> None:
    """Write one entry; a key that is a struct is given by its first field, of the value what is not zero."""
    table = datapath.maps[name]
    keys, values = np.zeros(1, table.key_dtype), np.zeros(1, table.value_dtype)
    if keys.dtype.names:
        keys[keys.dtype.names[0]] = key
    else:
        keys[0] = key
    for field, value in fields.items():
        values[field] = value
    table.update(keys, values)


def raw(address: str) -> npt.NDArray[np.uint32]:
    """An address as maps have it."""
    return np.frombuffer(pack(address), np.uint32)
