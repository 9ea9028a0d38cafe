"""Reads the settings from one YAML file, and names a mistake by its line.

What can be known to be wrong is refused here, before the agent touches anything: a name that is not known or that
stands there twice, a value of another kind, an address that is none. Whoever can write the file decides what root loads
into the kernel, so a file that everybody may write is refused too.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterator
from enum import Enum
from pathlib import Path
from typing import Any, Literal, NoReturn, get_args, get_origin, get_type_hints

import msgspec
import yaml

from daemon.settings import Settings, SettingsError

DEFAULT_PATH = Path("/etc/remora/config.yaml")
NODE_NAME = "REMORA_NODE_NAME"
"""the one setting that the environment can say: Kubernetes tells a pod there which node it is on"""

_ADDRESSES = ("listen_address", "metrics_address", "healthz_address", "proxymode_address")
_PATHS = (
    "kubeconfig",
    "manifests",
    "bpffs",
    "state_dir",
    "socket",
    "tls_cert_file",
    "tls_key_file",
    "cgroup",
    "shield_lists",
)
_ADDRESS = re.compile(r"(?:\[[0-9A-Fa-f:.]+(?:%\w+)?\]|[^\s:/\[\]]*):(\d{1,5})")
_SERVER = re.compile(r"https?://[^\s/]+(?:/\S*)?")

_Mistake = tuple[str, str, str]
"""field, what is wrong, what to do"""


def load(path: Path | None) -> Settings:
    """Settings of a file and the environment; None means the default path, or no file at all.

    Raises SettingsError with the line at fault.
    """
    found = _read(path)
    _refuse_strangers("manifests", Path(found.manifests))
    _refuse_strangers("shield_lists", Path(found.shield_lists))
    if found.kubeconfig:
        _refuse_strangers("kubeconfig", Path(found.kubeconfig))
    return msgspec.structs.replace(found, node_name=os.environ.get(NODE_NAME) or found.node_name)


def _read(path: Path | None) -> Settings:
    if path is None:
        if not DEFAULT_PATH.exists():
            return Settings()
        path = DEFAULT_PATH
    try:
        _refuse_strangers("settings", path, path.resolve().parent)
        text = path.read_text()
    except (OSError, UnicodeDecodeError) as error:
        what = f"cannot read settings {path}: {getattr(error, 'strerror', None) or 'not UTF-8 text'}"
        raise SettingsError(what, "name a readable file with --config") from error
    return parse(text, str(path))


def parse(text: str, name: str) -> Settings:
    """Settings from a file's text; raises SettingsError with the line at fault."""
    try:
        found = msgspec.convert(yaml.safe_load(text) or {}, Settings)
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        raise SettingsError(f"settings {name}:{line}: no YAML: {error.problem or error.context}") from error
    except (yaml.YAMLError, msgspec.ValidationError) as error:
        what, _, where = " ".join(str(error).split()).partition(" - at `$.")
        field = where.rstrip("`") or _unknown(what)
        told = f"{field}: {what}" if where else what
        raise SettingsError(f"settings {name}:{_line(text, field)}: {told}", _hint(field)) from error
    for line, key in _twice(yaml.compose(text)):
        raise SettingsError(f"settings {name}:{line}: {key} stands here a second time", "leave one of the two")
    for mistake in _mistakes(found):
        refuse(text, name, mistake)
    return found


def refuse(text: str, name: str, mistake: _Mistake) -> NoReturn:
    """Raise SettingsError for a mistake in a file's text."""
    field, what, todo = mistake
    raise SettingsError(f"settings {name}:{_line(text, field)}: {field}: {what}", todo)


def _line(text: str, field: str) -> int:
    """Where a field of the file stands; 1 for one that cannot be found."""
    key = _top(field)
    node = yaml.compose(text)
    pairs = node.value if isinstance(node, yaml.MappingNode) else []
    return next((name.start_mark.line + 1 for name, _ in pairs if name.value == key), 1)


def _top(field: str) -> str:
    """The setting to which a part of a value belongs."""
    return field.split(".")[0].split("[")[0]


def _twice(node: yaml.Node | None) -> Iterator[tuple[int, str]]:
    """Lines and names of keys that a mapping has already, of which YAML takes the last."""
    if isinstance(node, yaml.MappingNode):
        seen = set()
        for key, value in node.value:
            if key.value in seen:
                yield key.start_mark.line + 1, key.value
            if isinstance(key, yaml.ScalarNode):
                seen.add(key.value)
            yield from _twice(value)


def _unknown(what: str) -> str:
    """The field that msgspec says it does not know."""
    found = re.search(r"unknown field `([^`]+)`", what)
    return found[1] if found else ""


def _hint(field: str) -> str:
    """What a setting may say, where that is a closed set; for one that is not known, the one that was meant."""
    from difflib import get_close_matches

    known = Settings.__struct_fields__
    if (setting := _top(field)) in known:
        words = list(_words(get_type_hints(Settings)[setting]))
        return f"write one of {', '.join(words)}" if words else ""
    near = get_close_matches(setting, known, 1)
    return f"did you mean {near[0]}?" if near else ""


def _words(kind: Any) -> Iterator[str]:
    """What a type admits, as YAML wants it written: `off` without quotes is no word there."""
    if isinstance(kind, type) and issubclass(kind, Enum):
        yield from (repr(one.value) for one in kind)
    elif get_origin(kind) is Literal:
        yield from map(repr, get_args(kind))
    else:
        for part in get_args(kind):
            yield from _words(part)


def _mistakes(found: Settings) -> Iterator[_Mistake]:
    """What is of the right kind and cannot work."""
    for field in _ADDRESSES:
        text = getattr(found, field)
        told = _ADDRESS.fullmatch(text)
        if text and not (told and int(told[1]) <= 65535):
            yield field, f"{text!r} is no host:port", "write an address and a port, as 127.0.0.1:9965 or [::1]:9965"
    for field in _PATHS:
        if (text := getattr(found, field)) and not text.startswith("/"):
            yield field, f"{text!r} is no absolute path", "begin it with /"
    if found.api_server and not _SERVER.fullmatch(found.api_server):
        yield "api_server", f"{found.api_server!r} is no address of a server", "write https://host:6443"
    try:
        _ = found.node_port_networks, found.snat_range
    except SettingsError as error:
        field, _, what = error.what.partition(": ")
        yield field, what, error.hint
    yield from _half(found)


def _half(found: Settings) -> Iterator[_Mistake]:
    """Settings that do not agree with each other."""
    if bool(found.tls_cert_file) != bool(found.tls_key_file):
        field = "tls_cert_file" if found.tls_cert_file else "tls_key_file"
        yield field, "tls_cert_file and tls_key_file are only of use together", "set both"
    elif found.tls_client_ca_files and not found.tls_cert_file:
        yield "tls_client_ca_files", "needs tls_cert_file and tls_key_file", "set them"
    elif found.listen_address and not found.tls_cert_file and not found.disable_tls:
        todo = "set tls_cert_file and tls_key_file, or disable_tls: true"
        yield "listen_address", "would serve every flow of this host in plain text", todo


def _refuse_strangers(what: str, *paths: Path) -> None:
    """Who can write these decides what root loads into the kernel; what is not there is no matter."""
    for one in filter(Path.exists, paths):
        if one.stat().st_mode & stat.S_IWOTH and not one.stat().st_mode & stat.S_ISVTX:
            raise SettingsError(f"{what} {paths[0]}: everybody may write {one}", f"chmod o-w {one}")
