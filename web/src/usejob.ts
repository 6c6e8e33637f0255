import { useEffect, useReducer, useRef, useState } from 'preact/hooks';
import { ApiError, get, isTerminal, type Job, jobPath, type Node, request } from './api';
import { expected, Items, maxHeld, readAll } from './items';
import { follow, sleep } from './stream';

export interface Watched {
  job?: Job;
  items: Items;
  /** version changes with items. */
  version: number;
  /** held is true when items has all results so far. */
  held: boolean;
  /** rate is the number of units per second, lately; null when it is unknown. */
  rate: number | null;
  /** nodes are the names of nodes that have worked on the job while the page was open. */
  nodes: string[];
  error?: unknown;
  reload: () => void;
}

interface Mark {
  at: number;
  units: number;
}

/** useJob reads a job and follows it until its end. */
export function useJob(id: string): Watched {
  const [job, setJob] = useState<Job>();
  const [error, setError] = useState<unknown>();
  const [version, tick] = useReducer((n: number) => n + 1, 0);
  const [round, reload] = useReducer((n: number) => n + 1, 0);
  const items = useRef(new Items());
  const held = useRef(true);
  const marks = useRef<Mark[]>([]);

  useEffect(() => {
    const stop = new AbortController();
    const { signal } = stop;
    // A stream of thousands of results is drawn once in a while.
    let waiting = false;
    const changed = () => {
      if (waiting) return;
      waiting = true;
      setTimeout(() => {
        waiting = false;
        if (!signal.aborted) tick(undefined);
      }, 100);
    };
    const seen = (next: Job) => {
      const p = next.progress;
      const now = Date.now();
      marks.current = [...marks.current.filter((m) => now - m.at < 10_000), { at: now, units: p.completed + p.failed }];
      setJob(next);
    };
    const run = async () => {
      let current = await get<Job>(jobPath(id), { signal });
      setError(undefined);
      seen(current);
      held.current = expected(current) <= maxHeld;
      items.current = new Items();
      if (isTerminal(current.state)) {
        if (held.current) await readAll(current, items.current, signal);
        changed();
        return;
      }
      if (!held.current) {
        await watch(current, signal, seen);
        return;
      }
      await follow(id, signal, (e) => {
        switch (e.event) {
          case 'result':
            items.current.add(e.data);
            changed();
            return;
          case 'state':
            current = { ...current, state: e.data.state, started_at: e.data.state === 'running' ? e.data.at : current.started_at };
            seen(current);
            return;
          case 'progress':
            current = { ...current, progress: e.data };
            seen(current);
            return;
          case 'end':
            current = { ...e.data, submission: current.submission };
            seen(current);
        }
      });
      current = await get<Job>(jobPath(id), { signal }); // a stream that had ended before has no end event
      seen(current);
      changed();
    };
    run().catch((e) => {
      if (signal.aborted) return;
      setError(e);
      if (!(e instanceof ApiError) || e.status >= 500) void sleep(2000, signal).then(() => !signal.aborted && reload(undefined));
    });
    return () => stop.abort();
  }, [id, round]);

  const nodes = useNodesOf(id, job !== undefined && !isTerminal(job.state));
  const list = marks.current;
  const first = list[0];
  const last = list.at(-1);
  const rate = first && last && last.at - first.at > 500 ? ((last.units - first.units) * 1000) / (last.at - first.at) : null;
  return { job, items: items.current, version, held: held.current, rate, nodes, error, reload: () => reload(undefined) };
}

/** watch reads a job with many results whenever it has changed, at most twice a second. */
async function watch(job: Job, signal: AbortSignal, seen: (job: Job) => void): Promise<void> {
  let etag = '';
  while (!signal.aborted && !isTerminal(job.state)) {
    try {
      const response = await request('GET', jobPath(job.id), { signal, headers: etag ? { 'If-None-Match': etag, Prefer: 'wait=10' } : {} });
      if (response.status === 200) {
        etag = response.headers.get('ETag') ?? '';
        job = (await response.json()) as Job;
        seen(job);
      }
    } catch (error) {
      if (signal.aborted || (error instanceof ApiError && error.status < 500)) throw error;
    }
    await sleep(500, signal);
  }
}

/** useNodesOf returns the names of the nodes that have been seen working on a job. */
function useNodesOf(id: string, unfinished: boolean): string[] {
  const [names, setNames] = useState<string[]>([]);
  useEffect(() => {
    if (!unfinished) return;
    const stop = new AbortController();
    const run = async () => {
      while (!stop.signal.aborted) {
        const list = await get<{ nodes: Node[] }>('v1/nodes', { signal: stop.signal }).catch(() => undefined);
        const here = list?.nodes.filter((n) => n.jobs.some((j) => j.id === id)).map((n) => n.name) ?? [];
        if (here.length > 0) setNames((old) => [...new Set([...old, ...here])]);
        await sleep(2000, stop.signal);
      }
    };
    void run();
    return () => stop.abort();
  }, [id, unfinished]);
  return names;
}
