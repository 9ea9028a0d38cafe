"""TLS 1.3 and nothing older; imported before gRPC, which reads its ciphers once.

gRPC for Python cannot be told the oldest version that it may speak, but the ciphers of TLS 1.2. The one that is named
here needs a key that both sides hold beforehand; nobody does, so TLS 1.3, whose ciphers are fixed, is left.
"""

import os

os.environ.setdefault("GRPC_SSL_CIPHER_SUITES", "ECDHE-PSK-CHACHA20-POLY1305")
