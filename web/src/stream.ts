import { ApiError, type Item, type Job, jobPath, request, type State } from './api';

/** lines yields the JSON values of a response in NDJSON. */
export async function* lines(response: Response): AsyncGenerator<unknown> {
  if (!response.body) return;
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = '';
  try {
    for (;;) {
      const { done, value } = await reader.read();
      if (done) return;
      const parts = (rest + value).split('\n');
      rest = parts.pop() ?? '';
      for (const line of parts) if (line) yield JSON.parse(line);
    }
  } finally {
    void reader.cancel().catch(() => undefined);
  }
}

/** An Event is a line of /events. */
export type Event =
  | { event: 'state'; seq: number; data: { seq: number; state: State; at: string } }
  | { event: 'dependency'; seq: number; data: { seq: number; job_id: string; at: string } }
  | { event: 'result'; seq: number; data: Item }
  | { event: 'progress'; data: Job['progress'] }
  | { event: 'end'; data: Job };

const pauses = [500, 1000, 2000, 4000];

/** follow calls back for every event of a job until its end. It resumes where a broken stream ended. */
export async function follow(id: string, signal: AbortSignal, on: (event: Event) => void): Promise<void> {
  let after = 0;
  for (let failures = 0; !signal.aborted; ) {
    try {
      const response = await request('GET', jobPath(id, '/events', { after }), {
        headers: { Accept: 'application/x-ndjson' },
        signal,
      });
      if (response.status === 204) return;
      for await (const line of lines(response)) {
        const event = line as Event;
        failures = 0;
        if ('seq' in event) after = event.seq;
        on(event);
        if (event.event === 'end') return;
      }
    } catch (error) {
      if (signal.aborted) return;
      if (error instanceof ApiError && error.status < 500 && error.status !== 429) throw error;
    }
    await sleep(pauses[Math.min(failures++, pauses.length - 1)], signal);
  }
}

/** sleep waits, at most until signal is aborted. */
export function sleep(ms: number, signal?: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    const timer = setTimeout(resolve, ms);
    signal?.addEventListener('abort', () => {
      clearTimeout(timer);
      resolve();
    });
  });
}
