"""The programs that people write, timed without their imports: programs.py NAME N prints the seconds, the peak memory and the result."""

import asyncio
import json
import resource
import sys
import time
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor, as_completed


def sleeps(n):
    async def main():
        return await asyncio.gather(*(asyncio.sleep(1, 1) for _ in range(n)))

    return sum(asyncio.run(main()))


def square(n):
    return n * n


def squares(executor, n):
    with executor() as pool:
        futures = [pool.submit(square, i) for i in range(n)]
        return sum(f.result() for f in as_completed(futures))


def ones(n):
    return float(da.ones(1000 * n, chunks=1000).sum().compute())


programs = {
    "sleeps": sleeps,
    "threads": lambda n: squares(ThreadPoolExecutor, n),
    "processes": lambda n: squares(ProcessPoolExecutor, n),
    "ones": ones,
}

if __name__ == "__main__":
    name, n = sys.argv[1], int(sys.argv[2])
    if name == "ones":
        import dask.array as da
    began = time.perf_counter()
    result = programs[name](n)
    seconds = time.perf_counter() - began
    memory = sum(resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    print(json.dumps({"seconds": seconds, "memory": 1024 * memory, "result": result}))
