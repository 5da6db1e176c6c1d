"""Exit 0 when the service in this container calls itself ready, else say why and exit 1.

Asked is /readyz, which fails while the database or the launchers do: that a port is open proves nothing. Standard
library only, and never through a proxy that the environment may name.
"""

import http.client
import os
import sys

TIMEOUT_SECONDS = 4


def main() -> int:
    """Ask once, print the answer, return the exit code."""
    connection = http.client.HTTPConnection("127.0.0.1", int(os.environ["PROCDECK_PORT"]), timeout=TIMEOUT_SECONDS)
    try:
        connection.request("GET", "/readyz")
        response = connection.getresponse()
        print(response.status, response.read(4096).decode(errors="replace"))
    except (OSError, http.client.HTTPException) as error:
        print(f"no answer: {error!r}")
        return 1
    finally:
        connection.close()
    return 0 if response.status == http.HTTPStatus.OK else 1


if __name__ == "__main__":
    sys.exit(main())
