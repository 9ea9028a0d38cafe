"""The command `remora`: a client of the agent's API, and the switch that starts the agent itself.

It must answer at once, at night, on a host in trouble. So a command imports no
more than it needs (click, grpc, protobuf; the agent only in `remora agent` and
its like), and every failure is one line that says what to try next.
"""
