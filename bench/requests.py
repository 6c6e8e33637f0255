"""Sends GET requests with a client library, and prints what it took as JSON."""

import asyncio
import json
import resource
import sys
import time


async def with_aiohttp(url, n, concurrency):
    import aiohttp

    bound = asyncio.Semaphore(concurrency)
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=concurrency)) as session:

        async def get(i):
            async with bound, session.get(f"{url}/{i}") as response:
                return response.status, await response.text()

        return await timed(get, n)


async def with_httpx(url, n, concurrency):
    import httpx

    bound = asyncio.Semaphore(concurrency)
    limits = httpx.Limits(max_connections=concurrency, max_keepalive_connections=concurrency)
    async with httpx.AsyncClient(limits=limits, timeout=60) as client:

        async def get(i):
            async with bound:
                response = await client.get(f"{url}/{i}")
                return response.status_code, response.text

        return await timed(get, n)


async def timed(get, n):
    began, cpu = time.perf_counter(), time.process_time()
    results = await asyncio.gather(*[get(i) for i in range(n)])
    return {
        "seconds": time.perf_counter() - began,
        "cpu": time.process_time() - cpu,
        "bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
        "succeeded": sum(status == 200 and text.startswith("/") for status, text in results),
    }


library, url, n, concurrency = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
print(json.dumps(asyncio.run({"aiohttp": with_aiohttp, "httpx": with_httpx}[library](url, n, concurrency))))
