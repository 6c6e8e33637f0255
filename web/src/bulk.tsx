import { useEffect, useRef, useState } from 'preact/hooks';
import { ApiError, get, isTerminal, type JobList, message, request } from './api';
import { count } from './format';
import { Dialog, Failure } from './parts';
import { sleep } from './stream';

type Action = 'cancel' | 'delete';

const parallel = 8;

/** Bulk cancels or deletes all jobs that match the filters, after a preview of their number. */
export function Bulk({ filter, onDone }: { filter: URLSearchParams; onDone: () => void }) {
  const [action, setAction] = useState<Action | null>(null);
  return (
    <>
      <button type="button" onClick={() => setAction('cancel')}>
        Cancel {filter.size > 0 ? 'matching' : 'all'} …
      </button>
      <button type="button" onClick={() => setAction('delete')}>
        Delete {filter.size > 0 ? 'matching' : 'all'} …
      </button>
      {action && (
        <BulkDialog
          action={action}
          filter={filter}
          onClose={() => {
            setAction(null);
            onDone();
          }}
        />
      )}
    </>
  );
}

function BulkDialog({ action, filter, onClose }: { action: Action; filter: URLSearchParams; onClose: () => void }) {
  const [ids, setIDs] = useState<string[]>([]);
  const [counted, setCounted] = useState(false);
  const [done, setDone] = useState<number | null>(null);
  const [skipped, setSkipped] = useState(0);
  const [error, setError] = useState<unknown>();
  const stop = useRef(new AbortController());
  useEffect(() => {
    void find(action, filter, stop.current.signal, setIDs)
      .then(() => setCounted(true))
      .catch(setError);
    return () => stop.current.abort();
  }, []);

  const run = async () => {
    setDone(0);
    const left = [...ids];
    const worker = async () => {
      for (let id = left.pop(); id !== undefined && !stop.current.signal.aborted; id = left.pop()) {
        try {
          await end(action, id, stop.current.signal);
          setDone((n) => (n ?? 0) + 1);
        } catch (e) {
          if (!(e instanceof ApiError) || e.status === 401 || e.status === 403) throw e;
          setSkipped((n) => n + 1); // it has ended, started or expired meanwhile
        }
      }
    };
    await Promise.all(Array.from({ length: parallel }, worker)).catch((e) => {
      stop.current.abort();
      setError(e);
    });
  };

  const what = action === 'cancel' ? 'unfinished' : 'finished';
  const finished = done !== null && done + skipped >= ids.length;
  const filters = [...filter].map(([name, value]) => `${name} ${value}`).join(', ');
  return (
    <Dialog title={action === 'cancel' ? 'Cancel jobs' : 'Delete jobs'} onClose={onClose}>
      <p>{filters ? `Filters: ${filters}.` : 'No filter is set: this concerns all of your jobs.'}</p>
      <p role="status">
        <b class="big">{count(ids.length)}</b> {what} {ids.length === 1 ? 'job' : 'jobs'} {counted ? '' : 'so far, counting …'}
      </p>
      {done !== null && (
        <>
          <progress max={ids.length || 1} value={done + skipped} aria-label="Progress" />
          <p role="status">
            {count(done)} {action === 'cancel' ? 'cancelled' : 'deleted'}
            {skipped > 0 && `, ${count(skipped)} no longer ${what}`}
          </p>
        </>
      )}
      <Failure error={error} />
      <p class="buttons">
        <button type="button" onClick={onClose}>
          {finished ? 'Close' : done === null ? 'Keep them' : 'Stop'}
        </button>
        {done === null && (
          <button type="button" class="danger" disabled={!counted || ids.length === 0} onClick={run}>
            {action === 'cancel' ? 'Cancel' : 'Delete'} {count(ids.length)}
          </button>
        )}
      </p>
    </Dialog>
  );
}

/** find reports the ids of the jobs to which the action applies, more of them after each page. */
async function find(action: Action, filter: URLSearchParams, signal: AbortSignal, found: (ids: string[]) => void): Promise<void> {
  const params = new URLSearchParams(filter);
  params.set('page_size', '200');
  const ids: string[] = [];
  for (;;) {
    const page = await get<JobList>(`v1/jobs?${params}`, { signal });
    for (const job of page.jobs) if (isTerminal(job.state) === (action === 'delete') && job.state !== 'cancelling') ids.push(job.id);
    found([...ids]);
    if (!page.next_page_token) return;
    params.set('page_token', page.next_page_token);
  }
}

/** end cancels or deletes a job, and tries again while the service is busy. */
async function end(action: Action, id: string, signal: AbortSignal): Promise<void> {
  for (;;) {
    try {
      await request(action === 'cancel' ? 'POST' : 'DELETE', action === 'cancel' ? `v1/jobs/${id}/cancel` : `v1/jobs/${id}`, { signal });
      return;
    } catch (error) {
      if (signal.aborted || !(error instanceof ApiError) || (error.status !== 429 && error.status !== 503)) throw error;
      console.info(message(error));
      await sleep(1000, signal);
    }
  }
}
