import { useEffect, useRef, useState } from 'preact/hooks';
import { ApiError, type BulkResult, message, post } from './api';
import { count } from './format';
import { Dialog, Failure } from './parts';
import { sleep } from './stream';

type Action = 'cancel' | 'delete';

/** Bulk cancels or deletes all jobs that match the filters, after a preview of their number. what is their name on the buttons. */
export function Bulk({ filter, what, onDone }: { filter: URLSearchParams; what?: string; onDone: () => void }) {
  const [action, setAction] = useState<Action | null>(null);
  const name = what ?? (filter.size > 0 ? 'matching' : 'all');
  return (
    <>
      <button type="button" onClick={() => setAction('cancel')}>
        Cancel {name} …
      </button>
      <button type="button" onClick={() => setAction('delete')}>
        Delete {name} …
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
  const [matched, setMatched] = useState(0);
  const [counted, setCounted] = useState(false);
  const [done, setDone] = useState<BulkResult | null>(null);
  const [finished, setFinished] = useState(false);
  const [error, setError] = useState<unknown>();
  const stop = useRef(new AbortController());
  useEffect(() => {
    void each(action, filter, true, stop.current.signal, (sum) => setMatched(sum.matched))
      .then(() => setCounted(true))
      .catch(setError);
    return () => stop.current.abort();
  }, []);

  const run = async () => {
    setDone({ matched: 0, changed: 0, next_page_token: null });
    await each(action, filter, false, stop.current.signal, setDone)
      .then(() => setFinished(true))
      .catch(setError);
  };

  const what = action === 'cancel' ? 'unfinished' : 'finished';
  const filters = [...filter].map(([name, value]) => `${name} ${value}`).join(', ');
  return (
    <Dialog title={action === 'cancel' ? 'Cancel jobs' : 'Delete jobs'} onClose={onClose}>
      <p>{filters ? `Filters: ${filters}.` : 'No filter is set: this concerns all of your jobs.'}</p>
      <p role="status">
        <b class="big">{count(matched)}</b> {what} {matched === 1 ? 'job' : 'jobs'} {counted ? '' : 'so far, counting …'}
      </p>
      {done !== null && (
        <>
          <progress max={matched || 1} value={finished ? matched || 1 : done.matched} aria-label="Progress" />
          <p role="status">
            {count(done.changed)} {action === 'cancel' ? 'cancelled' : 'deleted'}
            {done.matched > done.changed && `, ${count(done.matched - done.changed)} no longer ${what}`}
          </p>
        </>
      )}
      <Failure error={error} />
      <p class="buttons">
        <button type="button" onClick={onClose}>
          {finished ? 'Close' : done === null ? 'Keep them' : 'Stop'}
        </button>
        {done === null && (
          <button type="button" class="danger" disabled={!counted || matched === 0} onClick={run}>
            {action === 'cancel' ? 'Cancel' : 'Delete'} {count(matched)}
          </button>
        )}
      </p>
    </Dialog>
  );
}

/** each sends bulk requests until no jobs are left, and reports their sum after each; it tries again while the service is busy. */
async function each(action: Action, filter: URLSearchParams, countOnly: boolean, signal: AbortSignal, report: (sum: BulkResult) => void): Promise<void> {
  const params = new URLSearchParams(filter);
  if (countOnly) params.set('validate_only', 'true');
  let sum: BulkResult = { matched: 0, changed: 0, next_page_token: null };
  for (;;) {
    let result: BulkResult;
    try {
      result = await post<BulkResult>(`v1/jobs:${action}?${params}`, undefined, undefined, signal);
    } catch (error) {
      if (signal.aborted || !(error instanceof ApiError) || (error.status !== 429 && error.status !== 503)) throw error;
      console.info(message(error));
      await sleep(1000, signal);
      continue;
    }
    sum = { ...result, matched: sum.matched + result.matched, changed: sum.changed + result.changed };
    report(sum);
    if (!result.next_page_token) return;
    params.set('page_token', result.next_page_token);
  }
}
