"""The wire contract: messages and services that the agent, its CLI and foreign clients exchange.

It lies below everything that makes or reads flows, because `flow.Flow` is the
one model of a flow in this program: the pipeline builds it, filters and
printers read it, the API sends it as it is. The `.proto` files are written by
hand, the `*_pb2*` modules by `make proto`.
"""
