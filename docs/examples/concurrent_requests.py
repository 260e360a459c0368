"""As in a web server: many tasks share one client. python concurrent_requests.py [HOST:PORT] < paths.txt"""

import asyncio
import sys

import covey


async def handle(client: covey.AsyncClient, path: str) -> str:
    """What a request handler would do: an answer, or a sentence on why there is none."""
    try:
        return f"{path}: {(await client.classify(path)).label}"
    except covey.CoveyError as error:
        return f"{path}: {error}"


async def main(target: str = "localhost:8001") -> None:
    paths = sys.stdin.read().splitlines()
    async with covey.AsyncClient(target) as client:
        for line in await asyncio.gather(*[handle(client, path) for path in paths]):
            print(line)


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
