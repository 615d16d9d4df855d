"""A provider that is of no use: `slow` takes requests and never answers, `wrong` answers what is no reply. A
process of its own; prints its port on one line."""

from __future__ import annotations

import asyncio
import sys

_GARBAGE = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 9\r\n\r\nno reply!"


async def main(how: str) -> None:
    async def take(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while await reader.read(1 << 16):
            if how == "wrong":
                writer.write(_GARBAGE)
        writer.close()

    server = await asyncio.start_server(take, "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
