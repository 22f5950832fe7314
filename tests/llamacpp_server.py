"""Serve a GGUF file by llama.cpp's own server, which the wheel of xllamacpp brings, until standard input ends.

python tests/llamacpp_server.py model.gguf    # prints its address
"""

from __future__ import annotations

import sys


def main(model: str) -> None:
    """Start the server on a free port of this machine."""
    import xllamacpp

    params = xllamacpp.CommonParams()
    params.model.path = model
    params.n_ctx, params.n_parallel, params.port = 8192, 2, 0
    params.warmup = False
    params.cpuparams.n_threads = params.cpuparams_batch.n_threads = 2
    server = xllamacpp.Server(params)
    print(f"{server.listening_address}/v1", flush=True)
    sys.stdin.read()


if __name__ == "__main__":
    main(sys.argv[1])
