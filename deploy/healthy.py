"""Whether the server in this container answers: `python deploy/healthy.py [PATH] [PORT]`; exit code 0 or 1."""

import os
import sys
import urllib.request


def main(path: str = "/livez", port: str = "") -> int:
    """0 where it answers 200."""
    address = f"http://127.0.0.1:{port or os.environ.get('PORT') or 3000}{path}"
    try:
        with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(address, timeout=4) as answer:
            return int(answer.status != 200)
    except OSError:
        return 1


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
