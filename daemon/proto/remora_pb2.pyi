# mypy: ignore-errors
import datetime

from daemon.proto import observer_pb2 as _observer_pb2
from daemon.proto import flow_pb2 as _flow_pb2
from google.protobuf import timestamp_pb2 as _timestamp_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Health(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    HEALTH_UNKNOWN: _ClassVar[Health]
    HEALTH_OK: _ClassVar[Health]
    HEALTH_DEGRADED: _ClassVar[Health]
HEALTH_UNKNOWN: Health
HEALTH_OK: Health
HEALTH_DEGRADED: Health

class StatusRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class StatusResponse(_message.Message):
    __slots__ = ("health", "version", "node", "kernel", "pid", "uptime_ns", "resident_bytes", "config", "pins", "origin", "features", "programs", "maps", "sources", "counters", "flows", "losses", "warnings", "services", "endpoints", "metrics_port", "policies", "restricted", "guarded", "subsystems")
    HEALTH_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    NODE_FIELD_NUMBER: _ClassVar[int]
    KERNEL_FIELD_NUMBER: _ClassVar[int]
    PID_FIELD_NUMBER: _ClassVar[int]
    UPTIME_NS_FIELD_NUMBER: _ClassVar[int]
    RESIDENT_BYTES_FIELD_NUMBER: _ClassVar[int]
    CONFIG_FIELD_NUMBER: _ClassVar[int]
    PINS_FIELD_NUMBER: _ClassVar[int]
    ORIGIN_FIELD_NUMBER: _ClassVar[int]
    FEATURES_FIELD_NUMBER: _ClassVar[int]
    PROGRAMS_FIELD_NUMBER: _ClassVar[int]
    MAPS_FIELD_NUMBER: _ClassVar[int]
    SOURCES_FIELD_NUMBER: _ClassVar[int]
    COUNTERS_FIELD_NUMBER: _ClassVar[int]
    FLOWS_FIELD_NUMBER: _ClassVar[int]
    LOSSES_FIELD_NUMBER: _ClassVar[int]
    WARNINGS_FIELD_NUMBER: _ClassVar[int]
    SERVICES_FIELD_NUMBER: _ClassVar[int]
    ENDPOINTS_FIELD_NUMBER: _ClassVar[int]
    METRICS_PORT_FIELD_NUMBER: _ClassVar[int]
    POLICIES_FIELD_NUMBER: _ClassVar[int]
    RESTRICTED_FIELD_NUMBER: _ClassVar[int]
    GUARDED_FIELD_NUMBER: _ClassVar[int]
    SUBSYSTEMS_FIELD_NUMBER: _ClassVar[int]
    health: Health
    version: str
    node: str
    kernel: str
    pid: int
    uptime_ns: int
    resident_bytes: int
    config: str
    pins: str
    origin: str
    features: _containers.RepeatedCompositeFieldContainer[Feature]
    programs: _containers.RepeatedCompositeFieldContainer[Program]
    maps: _containers.RepeatedCompositeFieldContainer[Map]
    sources: _containers.RepeatedCompositeFieldContainer[Source]
    counters: _containers.RepeatedCompositeFieldContainer[Counter]
    flows: FlowState
    losses: _containers.RepeatedCompositeFieldContainer[Loss]
    warnings: _containers.RepeatedScalarFieldContainer[str]
    services: int
    endpoints: int
    metrics_port: int
    policies: int
    restricted: int
    guarded: int
    subsystems: _containers.RepeatedCompositeFieldContainer[Subsystem]
    def __init__(self, health: _Optional[_Union[Health, str]] = ..., version: _Optional[str] = ..., node: _Optional[str] = ..., kernel: _Optional[str] = ..., pid: _Optional[int] = ..., uptime_ns: _Optional[int] = ..., resident_bytes: _Optional[int] = ..., config: _Optional[str] = ..., pins: _Optional[str] = ..., origin: _Optional[str] = ..., features: _Optional[_Iterable[_Union[Feature, _Mapping]]] = ..., programs: _Optional[_Iterable[_Union[Program, _Mapping]]] = ..., maps: _Optional[_Iterable[_Union[Map, _Mapping]]] = ..., sources: _Optional[_Iterable[_Union[Source, _Mapping]]] = ..., counters: _Optional[_Iterable[_Union[Counter, _Mapping]]] = ..., flows: _Optional[_Union[FlowState, _Mapping]] = ..., losses: _Optional[_Iterable[_Union[Loss, _Mapping]]] = ..., warnings: _Optional[_Iterable[str]] = ..., services: _Optional[int] = ..., endpoints: _Optional[int] = ..., metrics_port: _Optional[int] = ..., policies: _Optional[int] = ..., restricted: _Optional[int] = ..., guarded: _Optional[int] = ..., subsystems: _Optional[_Iterable[_Union[Subsystem, _Mapping]]] = ...) -> None: ...

class Subsystem(_message.Message):
    __slots__ = ("name", "health", "words", "warnings")
    NAME_FIELD_NUMBER: _ClassVar[int]
    HEALTH_FIELD_NUMBER: _ClassVar[int]
    WORDS_FIELD_NUMBER: _ClassVar[int]
    WARNINGS_FIELD_NUMBER: _ClassVar[int]
    name: str
    health: Health
    words: str
    warnings: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, name: _Optional[str] = ..., health: _Optional[_Union[Health, str]] = ..., words: _Optional[str] = ..., warnings: _Optional[_Iterable[str]] = ...) -> None: ...

class Feature(_message.Message):
    __slots__ = ("name", "present", "purpose", "required")
    NAME_FIELD_NUMBER: _ClassVar[int]
    PRESENT_FIELD_NUMBER: _ClassVar[int]
    PURPOSE_FIELD_NUMBER: _ClassVar[int]
    REQUIRED_FIELD_NUMBER: _ClassVar[int]
    name: str
    present: bool
    purpose: str
    required: bool
    def __init__(self, name: _Optional[str] = ..., present: _Optional[bool] = ..., purpose: _Optional[str] = ..., required: _Optional[bool] = ...) -> None: ...

class Program(_message.Message):
    __slots__ = ("name", "hook", "attached", "id", "run_count", "run_time_ns")
    NAME_FIELD_NUMBER: _ClassVar[int]
    HOOK_FIELD_NUMBER: _ClassVar[int]
    ATTACHED_FIELD_NUMBER: _ClassVar[int]
    ID_FIELD_NUMBER: _ClassVar[int]
    RUN_COUNT_FIELD_NUMBER: _ClassVar[int]
    RUN_TIME_NS_FIELD_NUMBER: _ClassVar[int]
    name: str
    hook: str
    attached: _containers.RepeatedScalarFieldContainer[str]
    id: int
    run_count: int
    run_time_ns: int
    def __init__(self, name: _Optional[str] = ..., hook: _Optional[str] = ..., attached: _Optional[_Iterable[str]] = ..., id: _Optional[int] = ..., run_count: _Optional[int] = ..., run_time_ns: _Optional[int] = ...) -> None: ...

class Map(_message.Message):
    __slots__ = ("name", "type", "entries", "max_entries", "key_bytes", "value_bytes", "purpose", "uncounted")
    NAME_FIELD_NUMBER: _ClassVar[int]
    TYPE_FIELD_NUMBER: _ClassVar[int]
    ENTRIES_FIELD_NUMBER: _ClassVar[int]
    MAX_ENTRIES_FIELD_NUMBER: _ClassVar[int]
    KEY_BYTES_FIELD_NUMBER: _ClassVar[int]
    VALUE_BYTES_FIELD_NUMBER: _ClassVar[int]
    PURPOSE_FIELD_NUMBER: _ClassVar[int]
    UNCOUNTED_FIELD_NUMBER: _ClassVar[int]
    name: str
    type: str
    entries: int
    max_entries: int
    key_bytes: int
    value_bytes: int
    purpose: str
    uncounted: bool
    def __init__(self, name: _Optional[str] = ..., type: _Optional[str] = ..., entries: _Optional[int] = ..., max_entries: _Optional[int] = ..., key_bytes: _Optional[int] = ..., value_bytes: _Optional[int] = ..., purpose: _Optional[str] = ..., uncounted: _Optional[bool] = ...) -> None: ...

class Source(_message.Message):
    __slots__ = ("kind", "path", "age_ns", "services", "slices", "pods", "namespaces", "ignored", "problems", "notes")
    KIND_FIELD_NUMBER: _ClassVar[int]
    PATH_FIELD_NUMBER: _ClassVar[int]
    AGE_NS_FIELD_NUMBER: _ClassVar[int]
    SERVICES_FIELD_NUMBER: _ClassVar[int]
    SLICES_FIELD_NUMBER: _ClassVar[int]
    PODS_FIELD_NUMBER: _ClassVar[int]
    NAMESPACES_FIELD_NUMBER: _ClassVar[int]
    IGNORED_FIELD_NUMBER: _ClassVar[int]
    PROBLEMS_FIELD_NUMBER: _ClassVar[int]
    NOTES_FIELD_NUMBER: _ClassVar[int]
    kind: str
    path: str
    age_ns: int
    services: int
    slices: int
    pods: int
    namespaces: int
    ignored: int
    problems: _containers.RepeatedCompositeFieldContainer[Problem]
    notes: _containers.RepeatedCompositeFieldContainer[Problem]
    def __init__(self, kind: _Optional[str] = ..., path: _Optional[str] = ..., age_ns: _Optional[int] = ..., services: _Optional[int] = ..., slices: _Optional[int] = ..., pods: _Optional[int] = ..., namespaces: _Optional[int] = ..., ignored: _Optional[int] = ..., problems: _Optional[_Iterable[_Union[Problem, _Mapping]]] = ..., notes: _Optional[_Iterable[_Union[Problem, _Mapping]]] = ...) -> None: ...

class Problem(_message.Message):
    __slots__ = ("file", "line", "message")
    FILE_FIELD_NUMBER: _ClassVar[int]
    LINE_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    file: str
    line: int
    message: str
    def __init__(self, file: _Optional[str] = ..., line: _Optional[int] = ..., message: _Optional[str] = ...) -> None: ...

class Counter(_message.Message):
    __slots__ = ("name", "value", "meaning", "fault")
    NAME_FIELD_NUMBER: _ClassVar[int]
    VALUE_FIELD_NUMBER: _ClassVar[int]
    MEANING_FIELD_NUMBER: _ClassVar[int]
    FAULT_FIELD_NUMBER: _ClassVar[int]
    name: str
    value: int
    meaning: str
    fault: bool
    def __init__(self, name: _Optional[str] = ..., value: _Optional[int] = ..., meaning: _Optional[str] = ..., fault: _Optional[bool] = ...) -> None: ...

class FlowState(_message.Message):
    __slots__ = ("stored", "capacity", "seen", "rate", "oldest", "followers")
    STORED_FIELD_NUMBER: _ClassVar[int]
    CAPACITY_FIELD_NUMBER: _ClassVar[int]
    SEEN_FIELD_NUMBER: _ClassVar[int]
    RATE_FIELD_NUMBER: _ClassVar[int]
    OLDEST_FIELD_NUMBER: _ClassVar[int]
    FOLLOWERS_FIELD_NUMBER: _ClassVar[int]
    stored: int
    capacity: int
    seen: int
    rate: float
    oldest: _timestamp_pb2.Timestamp
    followers: int
    def __init__(self, stored: _Optional[int] = ..., capacity: _Optional[int] = ..., seen: _Optional[int] = ..., rate: _Optional[float] = ..., oldest: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., followers: _Optional[int] = ...) -> None: ...

class Loss(_message.Message):
    __slots__ = ("where", "count", "last")
    WHERE_FIELD_NUMBER: _ClassVar[int]
    COUNT_FIELD_NUMBER: _ClassVar[int]
    LAST_FIELD_NUMBER: _ClassVar[int]
    where: str
    count: int
    last: _timestamp_pb2.Timestamp
    def __init__(self, where: _Optional[str] = ..., count: _Optional[int] = ..., last: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...

class ListServicesRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class ListServicesResponse(_message.Message):
    __slots__ = ("services",)
    SERVICES_FIELD_NUMBER: _ClassVar[int]
    services: _containers.RepeatedCompositeFieldContainer[Service]
    def __init__(self, services: _Optional[_Iterable[_Union[Service, _Mapping]]] = ...) -> None: ...

class Service(_message.Message):
    __slots__ = ("number", "namespace", "name", "port_name", "type", "address", "port", "protocol", "backends")
    NUMBER_FIELD_NUMBER: _ClassVar[int]
    NAMESPACE_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    PORT_NAME_FIELD_NUMBER: _ClassVar[int]
    TYPE_FIELD_NUMBER: _ClassVar[int]
    ADDRESS_FIELD_NUMBER: _ClassVar[int]
    PORT_FIELD_NUMBER: _ClassVar[int]
    PROTOCOL_FIELD_NUMBER: _ClassVar[int]
    BACKENDS_FIELD_NUMBER: _ClassVar[int]
    number: int
    namespace: str
    name: str
    port_name: str
    type: str
    address: str
    port: int
    protocol: str
    backends: _containers.RepeatedCompositeFieldContainer[Backend]
    def __init__(self, number: _Optional[int] = ..., namespace: _Optional[str] = ..., name: _Optional[str] = ..., port_name: _Optional[str] = ..., type: _Optional[str] = ..., address: _Optional[str] = ..., port: _Optional[int] = ..., protocol: _Optional[str] = ..., backends: _Optional[_Iterable[_Union[Backend, _Mapping]]] = ...) -> None: ...

class Backend(_message.Message):
    __slots__ = ("address", "port", "workload")
    ADDRESS_FIELD_NUMBER: _ClassVar[int]
    PORT_FIELD_NUMBER: _ClassVar[int]
    WORKLOAD_FIELD_NUMBER: _ClassVar[int]
    address: str
    port: int
    workload: str
    def __init__(self, address: _Optional[str] = ..., port: _Optional[int] = ..., workload: _Optional[str] = ...) -> None: ...

class GetServiceRequest(_message.Message):
    __slots__ = ("name", "namespace")
    NAME_FIELD_NUMBER: _ClassVar[int]
    NAMESPACE_FIELD_NUMBER: _ClassVar[int]
    name: str
    namespace: str
    def __init__(self, name: _Optional[str] = ..., namespace: _Optional[str] = ...) -> None: ...

class GetServiceResponse(_message.Message):
    __slots__ = ("services",)
    SERVICES_FIELD_NUMBER: _ClassVar[int]
    services: _containers.RepeatedCompositeFieldContainer[ServiceDetail]
    def __init__(self, services: _Optional[_Iterable[_Union[ServiceDetail, _Mapping]]] = ...) -> None: ...

class ServiceDetail(_message.Message):
    __slots__ = ("namespace", "name", "type", "internal_policy", "external_policy", "algorithm", "affinity_seconds", "health_check_node_port", "balanced")
    NAMESPACE_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    TYPE_FIELD_NUMBER: _ClassVar[int]
    INTERNAL_POLICY_FIELD_NUMBER: _ClassVar[int]
    EXTERNAL_POLICY_FIELD_NUMBER: _ClassVar[int]
    ALGORITHM_FIELD_NUMBER: _ClassVar[int]
    AFFINITY_SECONDS_FIELD_NUMBER: _ClassVar[int]
    HEALTH_CHECK_NODE_PORT_FIELD_NUMBER: _ClassVar[int]
    BALANCED_FIELD_NUMBER: _ClassVar[int]
    namespace: str
    name: str
    type: str
    internal_policy: str
    external_policy: str
    algorithm: str
    affinity_seconds: int
    health_check_node_port: int
    balanced: _containers.RepeatedCompositeFieldContainer[Balanced]
    def __init__(self, namespace: _Optional[str] = ..., name: _Optional[str] = ..., type: _Optional[str] = ..., internal_policy: _Optional[str] = ..., external_policy: _Optional[str] = ..., algorithm: _Optional[str] = ..., affinity_seconds: _Optional[int] = ..., health_check_node_port: _Optional[int] = ..., balanced: _Optional[_Iterable[_Union[Balanced, _Mapping]]] = ...) -> None: ...

class Balanced(_message.Message):
    __slots__ = ("number", "port_name", "protocol", "frontends", "backends", "others", "policy", "lingering")
    NUMBER_FIELD_NUMBER: _ClassVar[int]
    PORT_NAME_FIELD_NUMBER: _ClassVar[int]
    PROTOCOL_FIELD_NUMBER: _ClassVar[int]
    FRONTENDS_FIELD_NUMBER: _ClassVar[int]
    BACKENDS_FIELD_NUMBER: _ClassVar[int]
    OTHERS_FIELD_NUMBER: _ClassVar[int]
    POLICY_FIELD_NUMBER: _ClassVar[int]
    LINGERING_FIELD_NUMBER: _ClassVar[int]
    number: int
    port_name: str
    protocol: str
    frontends: _containers.RepeatedCompositeFieldContainer[ServiceFrontend]
    backends: _containers.RepeatedCompositeFieldContainer[ServiceEndpoint]
    others: _containers.RepeatedCompositeFieldContainer[ServiceEndpoint]
    policy: str
    lingering: int
    def __init__(self, number: _Optional[int] = ..., port_name: _Optional[str] = ..., protocol: _Optional[str] = ..., frontends: _Optional[_Iterable[_Union[ServiceFrontend, _Mapping]]] = ..., backends: _Optional[_Iterable[_Union[ServiceEndpoint, _Mapping]]] = ..., others: _Optional[_Iterable[_Union[ServiceEndpoint, _Mapping]]] = ..., policy: _Optional[str] = ..., lingering: _Optional[int] = ...) -> None: ...

class ServiceFrontend(_message.Message):
    __slots__ = ("kind", "address", "port", "protocol", "empty")
    KIND_FIELD_NUMBER: _ClassVar[int]
    ADDRESS_FIELD_NUMBER: _ClassVar[int]
    PORT_FIELD_NUMBER: _ClassVar[int]
    PROTOCOL_FIELD_NUMBER: _ClassVar[int]
    EMPTY_FIELD_NUMBER: _ClassVar[int]
    kind: str
    address: str
    port: int
    protocol: str
    empty: str
    def __init__(self, kind: _Optional[str] = ..., address: _Optional[str] = ..., port: _Optional[int] = ..., protocol: _Optional[str] = ..., empty: _Optional[str] = ...) -> None: ...

class ServiceEndpoint(_message.Message):
    __slots__ = ("address", "port", "workload", "state", "node", "zone", "connections", "slice", "reasons")
    ADDRESS_FIELD_NUMBER: _ClassVar[int]
    PORT_FIELD_NUMBER: _ClassVar[int]
    WORKLOAD_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    NODE_FIELD_NUMBER: _ClassVar[int]
    ZONE_FIELD_NUMBER: _ClassVar[int]
    CONNECTIONS_FIELD_NUMBER: _ClassVar[int]
    SLICE_FIELD_NUMBER: _ClassVar[int]
    REASONS_FIELD_NUMBER: _ClassVar[int]
    address: str
    port: int
    workload: str
    state: str
    node: str
    zone: str
    connections: int
    slice: str
    reasons: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, address: _Optional[str] = ..., port: _Optional[int] = ..., workload: _Optional[str] = ..., state: _Optional[str] = ..., node: _Optional[str] = ..., zone: _Optional[str] = ..., connections: _Optional[int] = ..., slice: _Optional[str] = ..., reasons: _Optional[_Iterable[str]] = ...) -> None: ...

class ExplainRequest(_message.Message):
    __slots__ = ("address", "port", "protocol", "workload")
    ADDRESS_FIELD_NUMBER: _ClassVar[int]
    PORT_FIELD_NUMBER: _ClassVar[int]
    PROTOCOL_FIELD_NUMBER: _ClassVar[int]
    WORKLOAD_FIELD_NUMBER: _ClassVar[int]
    address: str
    port: int
    protocol: str
    workload: str
    def __init__(self, address: _Optional[str] = ..., port: _Optional[int] = ..., protocol: _Optional[str] = ..., workload: _Optional[str] = ...) -> None: ...

class ExplainResponse(_message.Message):
    __slots__ = ("rule", "verdict", "words", "namespace", "name", "port_name", "frontend", "policy", "eligible", "others", "notes", "node")
    RULE_FIELD_NUMBER: _ClassVar[int]
    VERDICT_FIELD_NUMBER: _ClassVar[int]
    WORDS_FIELD_NUMBER: _ClassVar[int]
    NAMESPACE_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    PORT_NAME_FIELD_NUMBER: _ClassVar[int]
    FRONTEND_FIELD_NUMBER: _ClassVar[int]
    POLICY_FIELD_NUMBER: _ClassVar[int]
    ELIGIBLE_FIELD_NUMBER: _ClassVar[int]
    OTHERS_FIELD_NUMBER: _ClassVar[int]
    NOTES_FIELD_NUMBER: _ClassVar[int]
    NODE_FIELD_NUMBER: _ClassVar[int]
    rule: str
    verdict: str
    words: str
    namespace: str
    name: str
    port_name: str
    frontend: ServiceFrontend
    policy: str
    eligible: _containers.RepeatedCompositeFieldContainer[ServiceEndpoint]
    others: _containers.RepeatedCompositeFieldContainer[ServiceEndpoint]
    notes: _containers.RepeatedScalarFieldContainer[str]
    node: str
    def __init__(self, rule: _Optional[str] = ..., verdict: _Optional[str] = ..., words: _Optional[str] = ..., namespace: _Optional[str] = ..., name: _Optional[str] = ..., port_name: _Optional[str] = ..., frontend: _Optional[_Union[ServiceFrontend, _Mapping]] = ..., policy: _Optional[str] = ..., eligible: _Optional[_Iterable[_Union[ServiceEndpoint, _Mapping]]] = ..., others: _Optional[_Iterable[_Union[ServiceEndpoint, _Mapping]]] = ..., notes: _Optional[_Iterable[str]] = ..., node: _Optional[str] = ...) -> None: ...

class VerifyRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class VerifyResponse(_message.Message):
    __slots__ = ("differences", "frontends", "slots")
    DIFFERENCES_FIELD_NUMBER: _ClassVar[int]
    FRONTENDS_FIELD_NUMBER: _ClassVar[int]
    SLOTS_FIELD_NUMBER: _ClassVar[int]
    differences: _containers.RepeatedCompositeFieldContainer[Difference]
    frontends: int
    slots: int
    def __init__(self, differences: _Optional[_Iterable[_Union[Difference, _Mapping]]] = ..., frontends: _Optional[int] = ..., slots: _Optional[int] = ...) -> None: ...

class Difference(_message.Message):
    __slots__ = ("kind", "map", "place", "service", "wanted", "found")
    KIND_FIELD_NUMBER: _ClassVar[int]
    MAP_FIELD_NUMBER: _ClassVar[int]
    PLACE_FIELD_NUMBER: _ClassVar[int]
    SERVICE_FIELD_NUMBER: _ClassVar[int]
    WANTED_FIELD_NUMBER: _ClassVar[int]
    FOUND_FIELD_NUMBER: _ClassVar[int]
    kind: str
    map: str
    place: str
    service: str
    wanted: str
    found: str
    def __init__(self, kind: _Optional[str] = ..., map: _Optional[str] = ..., place: _Optional[str] = ..., service: _Optional[str] = ..., wanted: _Optional[str] = ..., found: _Optional[str] = ...) -> None: ...

class ListPoliciesRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class ListPoliciesResponse(_message.Message):
    __slots__ = ("policies", "workloads", "namespaces")
    POLICIES_FIELD_NUMBER: _ClassVar[int]
    WORKLOADS_FIELD_NUMBER: _ClassVar[int]
    NAMESPACES_FIELD_NUMBER: _ClassVar[int]
    policies: _containers.RepeatedCompositeFieldContainer[NetworkPolicy]
    workloads: _containers.RepeatedCompositeFieldContainer[PolicyWorkload]
    namespaces: _containers.RepeatedCompositeFieldContainer[PolicyNamespace]
    def __init__(self, policies: _Optional[_Iterable[_Union[NetworkPolicy, _Mapping]]] = ..., workloads: _Optional[_Iterable[_Union[PolicyWorkload, _Mapping]]] = ..., namespaces: _Optional[_Iterable[_Union[PolicyNamespace, _Mapping]]] = ...) -> None: ...

class NetworkPolicy(_message.Message):
    __slots__ = ("kind", "namespace", "name", "tier", "priority", "audit", "isolates", "workloads", "rules", "default_denials", "manifest")
    KIND_FIELD_NUMBER: _ClassVar[int]
    NAMESPACE_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    TIER_FIELD_NUMBER: _ClassVar[int]
    PRIORITY_FIELD_NUMBER: _ClassVar[int]
    AUDIT_FIELD_NUMBER: _ClassVar[int]
    ISOLATES_FIELD_NUMBER: _ClassVar[int]
    WORKLOADS_FIELD_NUMBER: _ClassVar[int]
    RULES_FIELD_NUMBER: _ClassVar[int]
    DEFAULT_DENIALS_FIELD_NUMBER: _ClassVar[int]
    MANIFEST_FIELD_NUMBER: _ClassVar[int]
    kind: str
    namespace: str
    name: str
    tier: str
    priority: int
    audit: bool
    isolates: _containers.RepeatedScalarFieldContainer[str]
    workloads: _containers.RepeatedScalarFieldContainer[str]
    rules: _containers.RepeatedCompositeFieldContainer[PolicyRule]
    default_denials: int
    manifest: str
    def __init__(self, kind: _Optional[str] = ..., namespace: _Optional[str] = ..., name: _Optional[str] = ..., tier: _Optional[str] = ..., priority: _Optional[int] = ..., audit: _Optional[bool] = ..., isolates: _Optional[_Iterable[str]] = ..., workloads: _Optional[_Iterable[str]] = ..., rules: _Optional[_Iterable[_Union[PolicyRule, _Mapping]]] = ..., default_denials: _Optional[int] = ..., manifest: _Optional[str] = ...) -> None: ...

class PolicyRule(_message.Message):
    __slots__ = ("direction", "number", "name", "action", "peers", "ports", "hits", "bound")
    DIRECTION_FIELD_NUMBER: _ClassVar[int]
    NUMBER_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    ACTION_FIELD_NUMBER: _ClassVar[int]
    PEERS_FIELD_NUMBER: _ClassVar[int]
    PORTS_FIELD_NUMBER: _ClassVar[int]
    HITS_FIELD_NUMBER: _ClassVar[int]
    BOUND_FIELD_NUMBER: _ClassVar[int]
    direction: str
    number: int
    name: str
    action: str
    peers: _containers.RepeatedScalarFieldContainer[str]
    ports: _containers.RepeatedScalarFieldContainer[str]
    hits: int
    bound: bool
    def __init__(self, direction: _Optional[str] = ..., number: _Optional[int] = ..., name: _Optional[str] = ..., action: _Optional[str] = ..., peers: _Optional[_Iterable[str]] = ..., ports: _Optional[_Iterable[str]] = ..., hits: _Optional[int] = ..., bound: _Optional[bool] = ...) -> None: ...

class PolicyWorkload(_message.Message):
    __slots__ = ("namespace", "name", "ingress", "egress")
    NAMESPACE_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    INGRESS_FIELD_NUMBER: _ClassVar[int]
    EGRESS_FIELD_NUMBER: _ClassVar[int]
    namespace: str
    name: str
    ingress: _containers.RepeatedScalarFieldContainer[str]
    egress: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, namespace: _Optional[str] = ..., name: _Optional[str] = ..., ingress: _Optional[_Iterable[str]] = ..., egress: _Optional[_Iterable[str]] = ...) -> None: ...

class PolicyNamespace(_message.Message):
    __slots__ = ("name", "labels")
    class LabelsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    NAME_FIELD_NUMBER: _ClassVar[int]
    LABELS_FIELD_NUMBER: _ClassVar[int]
    name: str
    labels: _containers.ScalarMap[str, str]
    def __init__(self, name: _Optional[str] = ..., labels: _Optional[_Mapping[str, str]] = ...) -> None: ...

class ExplainPolicyRequest(_message.Message):
    __slots__ = ("source", "destination", "port", "protocol", "live")
    SOURCE_FIELD_NUMBER: _ClassVar[int]
    DESTINATION_FIELD_NUMBER: _ClassVar[int]
    PORT_FIELD_NUMBER: _ClassVar[int]
    PROTOCOL_FIELD_NUMBER: _ClassVar[int]
    LIVE_FIELD_NUMBER: _ClassVar[int]
    source: str
    destination: str
    port: int
    protocol: str
    live: bool
    def __init__(self, source: _Optional[str] = ..., destination: _Optional[str] = ..., port: _Optional[int] = ..., protocol: _Optional[str] = ..., live: _Optional[bool] = ...) -> None: ...

class ExplainPolicyResponse(_message.Message):
    __slots__ = ("passes", "sides", "notes", "differs")
    PASSES_FIELD_NUMBER: _ClassVar[int]
    SIDES_FIELD_NUMBER: _ClassVar[int]
    NOTES_FIELD_NUMBER: _ClassVar[int]
    DIFFERS_FIELD_NUMBER: _ClassVar[int]
    passes: bool
    sides: _containers.RepeatedCompositeFieldContainer[PolicySide]
    notes: _containers.RepeatedScalarFieldContainer[str]
    differs: bool
    def __init__(self, passes: _Optional[bool] = ..., sides: _Optional[_Iterable[_Union[PolicySide, _Mapping]]] = ..., notes: _Optional[_Iterable[str]] = ..., differs: _Optional[bool] = ...) -> None: ...

class PolicySide(_message.Message):
    __slots__ = ("direction", "party", "address", "verdict", "words", "policies", "misses", "live")
    DIRECTION_FIELD_NUMBER: _ClassVar[int]
    PARTY_FIELD_NUMBER: _ClassVar[int]
    ADDRESS_FIELD_NUMBER: _ClassVar[int]
    VERDICT_FIELD_NUMBER: _ClassVar[int]
    WORDS_FIELD_NUMBER: _ClassVar[int]
    POLICIES_FIELD_NUMBER: _ClassVar[int]
    MISSES_FIELD_NUMBER: _ClassVar[int]
    LIVE_FIELD_NUMBER: _ClassVar[int]
    direction: str
    party: str
    address: str
    verdict: str
    words: str
    policies: _containers.RepeatedScalarFieldContainer[str]
    misses: _containers.RepeatedScalarFieldContainer[str]
    live: str
    def __init__(self, direction: _Optional[str] = ..., party: _Optional[str] = ..., address: _Optional[str] = ..., verdict: _Optional[str] = ..., words: _Optional[str] = ..., policies: _Optional[_Iterable[str]] = ..., misses: _Optional[_Iterable[str]] = ..., live: _Optional[str] = ...) -> None: ...

class ListShieldRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class ListShieldResponse(_message.Message):
    __slots__ = ("rules", "bans", "devices")
    RULES_FIELD_NUMBER: _ClassVar[int]
    BANS_FIELD_NUMBER: _ClassVar[int]
    DEVICES_FIELD_NUMBER: _ClassVar[int]
    rules: _containers.RepeatedCompositeFieldContainer[ShieldRule]
    bans: _containers.RepeatedCompositeFieldContainer[ShieldBan]
    devices: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, rules: _Optional[_Iterable[_Union[ShieldRule, _Mapping]]] = ..., bans: _Optional[_Iterable[_Union[ShieldBan, _Mapping]]] = ..., devices: _Optional[_Iterable[str]] = ...) -> None: ...

class ShieldRule(_message.Message):
    __slots__ = ("number", "name", "kind", "dry_run", "entries", "packets", "bytes", "would_drop", "origin")
    NUMBER_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    KIND_FIELD_NUMBER: _ClassVar[int]
    DRY_RUN_FIELD_NUMBER: _ClassVar[int]
    ENTRIES_FIELD_NUMBER: _ClassVar[int]
    PACKETS_FIELD_NUMBER: _ClassVar[int]
    BYTES_FIELD_NUMBER: _ClassVar[int]
    WOULD_DROP_FIELD_NUMBER: _ClassVar[int]
    ORIGIN_FIELD_NUMBER: _ClassVar[int]
    number: int
    name: str
    kind: str
    dry_run: bool
    entries: int
    packets: int
    bytes: int
    would_drop: int
    origin: str
    def __init__(self, number: _Optional[int] = ..., name: _Optional[str] = ..., kind: _Optional[str] = ..., dry_run: _Optional[bool] = ..., entries: _Optional[int] = ..., packets: _Optional[int] = ..., bytes: _Optional[int] = ..., would_drop: _Optional[int] = ..., origin: _Optional[str] = ...) -> None: ...

class ShieldBan(_message.Message):
    __slots__ = ("address", "rule", "remaining_ns")
    ADDRESS_FIELD_NUMBER: _ClassVar[int]
    RULE_FIELD_NUMBER: _ClassVar[int]
    REMAINING_NS_FIELD_NUMBER: _ClassVar[int]
    address: str
    rule: str
    remaining_ns: int
    def __init__(self, address: _Optional[str] = ..., rule: _Optional[str] = ..., remaining_ns: _Optional[int] = ...) -> None: ...

class ExplainShieldRequest(_message.Message):
    __slots__ = ("address",)
    ADDRESS_FIELD_NUMBER: _ClassVar[int]
    address: str
    def __init__(self, address: _Optional[str] = ...) -> None: ...

class ExplainShieldResponse(_message.Message):
    __slots__ = ("address", "verdict", "words", "listed", "ban", "buckets", "proven_ns", "notes")
    ADDRESS_FIELD_NUMBER: _ClassVar[int]
    VERDICT_FIELD_NUMBER: _ClassVar[int]
    WORDS_FIELD_NUMBER: _ClassVar[int]
    LISTED_FIELD_NUMBER: _ClassVar[int]
    BAN_FIELD_NUMBER: _ClassVar[int]
    BUCKETS_FIELD_NUMBER: _ClassVar[int]
    PROVEN_NS_FIELD_NUMBER: _ClassVar[int]
    NOTES_FIELD_NUMBER: _ClassVar[int]
    address: str
    verdict: str
    words: str
    listed: _containers.RepeatedCompositeFieldContainer[ShieldListed]
    ban: ShieldBan
    buckets: _containers.RepeatedCompositeFieldContainer[ShieldBucket]
    proven_ns: int
    notes: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, address: _Optional[str] = ..., verdict: _Optional[str] = ..., words: _Optional[str] = ..., listed: _Optional[_Iterable[_Union[ShieldListed, _Mapping]]] = ..., ban: _Optional[_Union[ShieldBan, _Mapping]] = ..., buckets: _Optional[_Iterable[_Union[ShieldBucket, _Mapping]]] = ..., proven_ns: _Optional[int] = ..., notes: _Optional[_Iterable[str]] = ...) -> None: ...

class ShieldListed(_message.Message):
    __slots__ = ("rule", "kind", "dry_run", "prefix", "place", "decides")
    RULE_FIELD_NUMBER: _ClassVar[int]
    KIND_FIELD_NUMBER: _ClassVar[int]
    DRY_RUN_FIELD_NUMBER: _ClassVar[int]
    PREFIX_FIELD_NUMBER: _ClassVar[int]
    PLACE_FIELD_NUMBER: _ClassVar[int]
    DECIDES_FIELD_NUMBER: _ClassVar[int]
    rule: str
    kind: str
    dry_run: bool
    prefix: str
    place: str
    decides: bool
    def __init__(self, rule: _Optional[str] = ..., kind: _Optional[str] = ..., dry_run: _Optional[bool] = ..., prefix: _Optional[str] = ..., place: _Optional[str] = ..., decides: _Optional[bool] = ...) -> None: ...

class ShieldBucket(_message.Message):
    __slots__ = ("rule", "dry_run", "match", "shared_by", "packet_rate", "packet_burst", "packets_left", "byte_rate", "byte_burst", "bytes_left", "untouched")
    RULE_FIELD_NUMBER: _ClassVar[int]
    DRY_RUN_FIELD_NUMBER: _ClassVar[int]
    MATCH_FIELD_NUMBER: _ClassVar[int]
    SHARED_BY_FIELD_NUMBER: _ClassVar[int]
    PACKET_RATE_FIELD_NUMBER: _ClassVar[int]
    PACKET_BURST_FIELD_NUMBER: _ClassVar[int]
    PACKETS_LEFT_FIELD_NUMBER: _ClassVar[int]
    BYTE_RATE_FIELD_NUMBER: _ClassVar[int]
    BYTE_BURST_FIELD_NUMBER: _ClassVar[int]
    BYTES_LEFT_FIELD_NUMBER: _ClassVar[int]
    UNTOUCHED_FIELD_NUMBER: _ClassVar[int]
    rule: str
    dry_run: bool
    match: str
    shared_by: str
    packet_rate: int
    packet_burst: int
    packets_left: int
    byte_rate: int
    byte_burst: int
    bytes_left: int
    untouched: bool
    def __init__(self, rule: _Optional[str] = ..., dry_run: _Optional[bool] = ..., match: _Optional[str] = ..., shared_by: _Optional[str] = ..., packet_rate: _Optional[int] = ..., packet_burst: _Optional[int] = ..., packets_left: _Optional[int] = ..., byte_rate: _Optional[int] = ..., byte_burst: _Optional[int] = ..., bytes_left: _Optional[int] = ..., untouched: _Optional[bool] = ...) -> None: ...

class UnbanRequest(_message.Message):
    __slots__ = ("address",)
    ADDRESS_FIELD_NUMBER: _ClassVar[int]
    address: str
    def __init__(self, address: _Optional[str] = ...) -> None: ...

class UnbanResponse(_message.Message):
    __slots__ = ("ban",)
    BAN_FIELD_NUMBER: _ClassVar[int]
    ban: ShieldBan
    def __init__(self, ban: _Optional[_Union[ShieldBan, _Mapping]] = ...) -> None: ...

class ListEndpointsRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class ListEndpointsResponse(_message.Message):
    __slots__ = ("endpoints",)
    ENDPOINTS_FIELD_NUMBER: _ClassVar[int]
    endpoints: _containers.RepeatedCompositeFieldContainer[Endpoint]
    def __init__(self, endpoints: _Optional[_Iterable[_Union[Endpoint, _Mapping]]] = ...) -> None: ...

class Endpoint(_message.Message):
    __slots__ = ("number", "identity", "namespace", "name", "addresses", "labels", "owners", "device", "ifindex", "unreached", "inside")
    NUMBER_FIELD_NUMBER: _ClassVar[int]
    IDENTITY_FIELD_NUMBER: _ClassVar[int]
    NAMESPACE_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    ADDRESSES_FIELD_NUMBER: _ClassVar[int]
    LABELS_FIELD_NUMBER: _ClassVar[int]
    OWNERS_FIELD_NUMBER: _ClassVar[int]
    DEVICE_FIELD_NUMBER: _ClassVar[int]
    IFINDEX_FIELD_NUMBER: _ClassVar[int]
    UNREACHED_FIELD_NUMBER: _ClassVar[int]
    INSIDE_FIELD_NUMBER: _ClassVar[int]
    number: int
    identity: int
    namespace: str
    name: str
    addresses: _containers.RepeatedScalarFieldContainer[str]
    labels: _containers.RepeatedScalarFieldContainer[str]
    owners: _containers.RepeatedCompositeFieldContainer[Owner]
    device: str
    ifindex: int
    unreached: bool
    inside: Inside
    def __init__(self, number: _Optional[int] = ..., identity: _Optional[int] = ..., namespace: _Optional[str] = ..., name: _Optional[str] = ..., addresses: _Optional[_Iterable[str]] = ..., labels: _Optional[_Iterable[str]] = ..., owners: _Optional[_Iterable[_Union[Owner, _Mapping]]] = ..., device: _Optional[str] = ..., ifindex: _Optional[int] = ..., unreached: _Optional[bool] = ..., inside: _Optional[_Union[Inside, _Mapping]] = ...) -> None: ...

class Inside(_message.Message):
    __slots__ = ("netns", "occupants")
    NETNS_FIELD_NUMBER: _ClassVar[int]
    OCCUPANTS_FIELD_NUMBER: _ClassVar[int]
    netns: str
    occupants: _containers.RepeatedCompositeFieldContainer[Occupant]
    def __init__(self, netns: _Optional[str] = ..., occupants: _Optional[_Iterable[_Union[Occupant, _Mapping]]] = ...) -> None: ...

class Occupant(_message.Message):
    __slots__ = ("pid", "comm", "cgroup", "container", "unit")
    PID_FIELD_NUMBER: _ClassVar[int]
    COMM_FIELD_NUMBER: _ClassVar[int]
    CGROUP_FIELD_NUMBER: _ClassVar[int]
    CONTAINER_FIELD_NUMBER: _ClassVar[int]
    UNIT_FIELD_NUMBER: _ClassVar[int]
    pid: int
    comm: str
    cgroup: str
    container: str
    unit: str
    def __init__(self, pid: _Optional[int] = ..., comm: _Optional[str] = ..., cgroup: _Optional[str] = ..., container: _Optional[str] = ..., unit: _Optional[str] = ...) -> None: ...

class Owner(_message.Message):
    __slots__ = ("kind", "name")
    KIND_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    kind: str
    name: str
    def __init__(self, kind: _Optional[str] = ..., name: _Optional[str] = ...) -> None: ...

class ListIdentitiesRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class ListIdentitiesResponse(_message.Message):
    __slots__ = ("identities",)
    IDENTITIES_FIELD_NUMBER: _ClassVar[int]
    identities: _containers.RepeatedCompositeFieldContainer[Identity]
    def __init__(self, identities: _Optional[_Iterable[_Union[Identity, _Mapping]]] = ...) -> None: ...

class Identity(_message.Message):
    __slots__ = ("number", "name", "labels", "endpoints")
    NUMBER_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    LABELS_FIELD_NUMBER: _ClassVar[int]
    ENDPOINTS_FIELD_NUMBER: _ClassVar[int]
    number: int
    name: str
    labels: _containers.RepeatedScalarFieldContainer[str]
    endpoints: int
    def __init__(self, number: _Optional[int] = ..., name: _Optional[str] = ..., labels: _Optional[_Iterable[str]] = ..., endpoints: _Optional[int] = ...) -> None: ...

class ListMapsRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class ListMapsResponse(_message.Message):
    __slots__ = ("maps",)
    MAPS_FIELD_NUMBER: _ClassVar[int]
    maps: _containers.RepeatedCompositeFieldContainer[Map]
    def __init__(self, maps: _Optional[_Iterable[_Union[Map, _Mapping]]] = ...) -> None: ...

class MonitorRequest(_message.Message):
    __slots__ = ("last", "stored_only")
    LAST_FIELD_NUMBER: _ClassVar[int]
    STORED_ONLY_FIELD_NUMBER: _ClassVar[int]
    last: int
    stored_only: bool
    def __init__(self, last: _Optional[int] = ..., stored_only: _Optional[bool] = ...) -> None: ...

class MonitorResponse(_message.Message):
    __slots__ = ("records", "lost")
    RECORDS_FIELD_NUMBER: _ClassVar[int]
    LOST_FIELD_NUMBER: _ClassVar[int]
    records: _containers.RepeatedCompositeFieldContainer[Record]
    lost: int
    def __init__(self, records: _Optional[_Iterable[_Union[Record, _Mapping]]] = ..., lost: _Optional[int] = ...) -> None: ...

class Record(_message.Message):
    __slots__ = ("sequence", "time", "kind", "verdict", "point", "direction", "reply", "protocol", "source", "source_port", "destination", "destination_port", "tcp_flags", "icmp_type", "icmp_code", "length", "ifindex", "source_workload", "destination_workload", "service", "marks", "reason", "extra")
    SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    TIME_FIELD_NUMBER: _ClassVar[int]
    KIND_FIELD_NUMBER: _ClassVar[int]
    VERDICT_FIELD_NUMBER: _ClassVar[int]
    POINT_FIELD_NUMBER: _ClassVar[int]
    DIRECTION_FIELD_NUMBER: _ClassVar[int]
    REPLY_FIELD_NUMBER: _ClassVar[int]
    PROTOCOL_FIELD_NUMBER: _ClassVar[int]
    SOURCE_FIELD_NUMBER: _ClassVar[int]
    SOURCE_PORT_FIELD_NUMBER: _ClassVar[int]
    DESTINATION_FIELD_NUMBER: _ClassVar[int]
    DESTINATION_PORT_FIELD_NUMBER: _ClassVar[int]
    TCP_FLAGS_FIELD_NUMBER: _ClassVar[int]
    ICMP_TYPE_FIELD_NUMBER: _ClassVar[int]
    ICMP_CODE_FIELD_NUMBER: _ClassVar[int]
    LENGTH_FIELD_NUMBER: _ClassVar[int]
    IFINDEX_FIELD_NUMBER: _ClassVar[int]
    SOURCE_WORKLOAD_FIELD_NUMBER: _ClassVar[int]
    DESTINATION_WORKLOAD_FIELD_NUMBER: _ClassVar[int]
    SERVICE_FIELD_NUMBER: _ClassVar[int]
    MARKS_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    EXTRA_FIELD_NUMBER: _ClassVar[int]
    sequence: int
    time: _timestamp_pb2.Timestamp
    kind: str
    verdict: str
    point: str
    direction: str
    reply: bool
    protocol: str
    source: str
    source_port: int
    destination: str
    destination_port: int
    tcp_flags: str
    icmp_type: int
    icmp_code: int
    length: int
    ifindex: int
    source_workload: int
    destination_workload: int
    service: int
    marks: _containers.RepeatedScalarFieldContainer[str]
    reason: int
    extra: FlowExtra
    def __init__(self, sequence: _Optional[int] = ..., time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., kind: _Optional[str] = ..., verdict: _Optional[str] = ..., point: _Optional[str] = ..., direction: _Optional[str] = ..., reply: _Optional[bool] = ..., protocol: _Optional[str] = ..., source: _Optional[str] = ..., source_port: _Optional[int] = ..., destination: _Optional[str] = ..., destination_port: _Optional[int] = ..., tcp_flags: _Optional[str] = ..., icmp_type: _Optional[int] = ..., icmp_code: _Optional[int] = ..., length: _Optional[int] = ..., ifindex: _Optional[int] = ..., source_workload: _Optional[int] = ..., destination_workload: _Optional[int] = ..., service: _Optional[int] = ..., marks: _Optional[_Iterable[str]] = ..., reason: _Optional[int] = ..., extra: _Optional[_Union[FlowExtra, _Mapping]] = ...) -> None: ...

class FlowExtra(_message.Message):
    __slots__ = ("forward_packets", "forward_bytes", "reverse_packets", "reverse_bytes", "age_ns", "handshake_ns", "pid", "comm", "cgroup", "container", "unit", "cgroup_path", "srtt_ns", "retransmits", "failure", "failure_detail", "tls")
    FORWARD_PACKETS_FIELD_NUMBER: _ClassVar[int]
    FORWARD_BYTES_FIELD_NUMBER: _ClassVar[int]
    REVERSE_PACKETS_FIELD_NUMBER: _ClassVar[int]
    REVERSE_BYTES_FIELD_NUMBER: _ClassVar[int]
    AGE_NS_FIELD_NUMBER: _ClassVar[int]
    HANDSHAKE_NS_FIELD_NUMBER: _ClassVar[int]
    PID_FIELD_NUMBER: _ClassVar[int]
    COMM_FIELD_NUMBER: _ClassVar[int]
    CGROUP_FIELD_NUMBER: _ClassVar[int]
    CONTAINER_FIELD_NUMBER: _ClassVar[int]
    UNIT_FIELD_NUMBER: _ClassVar[int]
    CGROUP_PATH_FIELD_NUMBER: _ClassVar[int]
    SRTT_NS_FIELD_NUMBER: _ClassVar[int]
    RETRANSMITS_FIELD_NUMBER: _ClassVar[int]
    FAILURE_FIELD_NUMBER: _ClassVar[int]
    FAILURE_DETAIL_FIELD_NUMBER: _ClassVar[int]
    TLS_FIELD_NUMBER: _ClassVar[int]
    forward_packets: int
    forward_bytes: int
    reverse_packets: int
    reverse_bytes: int
    age_ns: int
    handshake_ns: int
    pid: int
    comm: str
    cgroup: int
    container: str
    unit: str
    cgroup_path: str
    srtt_ns: int
    retransmits: int
    failure: str
    failure_detail: str
    tls: TlsHello
    def __init__(self, forward_packets: _Optional[int] = ..., forward_bytes: _Optional[int] = ..., reverse_packets: _Optional[int] = ..., reverse_bytes: _Optional[int] = ..., age_ns: _Optional[int] = ..., handshake_ns: _Optional[int] = ..., pid: _Optional[int] = ..., comm: _Optional[str] = ..., cgroup: _Optional[int] = ..., container: _Optional[str] = ..., unit: _Optional[str] = ..., cgroup_path: _Optional[str] = ..., srtt_ns: _Optional[int] = ..., retransmits: _Optional[int] = ..., failure: _Optional[str] = ..., failure_detail: _Optional[str] = ..., tls: _Optional[_Union[TlsHello, _Mapping]] = ...) -> None: ...

class TlsHello(_message.Message):
    __slots__ = ("server_name", "protocols", "version")
    SERVER_NAME_FIELD_NUMBER: _ClassVar[int]
    PROTOCOLS_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    server_name: str
    protocols: _containers.RepeatedScalarFieldContainer[str]
    version: str
    def __init__(self, server_name: _Optional[str] = ..., protocols: _Optional[_Iterable[str]] = ..., version: _Optional[str] = ...) -> None: ...

class FlowOptions(_message.Message):
    __slots__ = ("processes", "latency_above_ns", "failed", "plain")
    PROCESSES_FIELD_NUMBER: _ClassVar[int]
    LATENCY_ABOVE_NS_FIELD_NUMBER: _ClassVar[int]
    FAILED_FIELD_NUMBER: _ClassVar[int]
    PLAIN_FIELD_NUMBER: _ClassVar[int]
    processes: _containers.RepeatedScalarFieldContainer[str]
    latency_above_ns: int
    failed: bool
    plain: bool
    def __init__(self, processes: _Optional[_Iterable[str]] = ..., latency_above_ns: _Optional[int] = ..., failed: _Optional[bool] = ..., plain: _Optional[bool] = ...) -> None: ...

class FlowBatch(_message.Message):
    __slots__ = ("items",)
    ITEMS_FIELD_NUMBER: _ClassVar[int]
    items: _containers.RepeatedCompositeFieldContainer[FlowItem]
    def __init__(self, items: _Optional[_Iterable[_Union[FlowItem, _Mapping]]] = ...) -> None: ...

class FlowItem(_message.Message):
    __slots__ = ("response", "extra")
    RESPONSE_FIELD_NUMBER: _ClassVar[int]
    EXTRA_FIELD_NUMBER: _ClassVar[int]
    response: _observer_pb2.GetFlowsResponse
    extra: FlowExtra
    def __init__(self, response: _Optional[_Union[_observer_pb2.GetFlowsResponse, _Mapping]] = ..., extra: _Optional[_Union[FlowExtra, _Mapping]] = ...) -> None: ...

class ReportRequest(_message.Message):
    __slots__ = ("entries",)
    ENTRIES_FIELD_NUMBER: _ClassVar[int]
    entries: int
    def __init__(self, entries: _Optional[int] = ...) -> None: ...

class ReportPart(_message.Message):
    __slots__ = ("name", "content")
    NAME_FIELD_NUMBER: _ClassVar[int]
    CONTENT_FIELD_NUMBER: _ClassVar[int]
    name: str
    content: bytes
    def __init__(self, name: _Optional[str] = ..., content: _Optional[bytes] = ...) -> None: ...
