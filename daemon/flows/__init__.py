"""What was seen: from the kernel's records to flows that people and machines can read.

Records arrive in bulk and stay what they are, columns of numbers in one array (`store`). On their way in (`pipeline`)
they are counted (`metrics`), and payload heads become messages with latency (`l7`). Only when somebody asks is a record
told in words (`builder`, `texts`), and only if it is one that was asked for (`filters`).
"""
