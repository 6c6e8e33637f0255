import { useState } from 'preact/hooks';
import { type Delivery, get, type Job, post } from './api';
import { ago, count, instant } from './format';
import { Failure, Panel } from './parts';
import { usePoll } from './poll';

/** DeliveriesPanel shows the deliveries of a finished job to its webhooks. */
export function DeliveriesPanel({ job }: { job: Job }) {
  const path = `v1/jobs/${encodeURIComponent(job.id)}/deliveries`;
  const { data, error, refresh } = usePoll((signal) => get<{ deliveries: Delivery[] }>(path, { signal }), 2000, path);
  const [failure, setFailure] = useState<unknown>();
  const retry = (d: Delivery) => () => {
    setFailure(undefined);
    post(`${path}/${encodeURIComponent(d.id)}/retry`).then(refresh, setFailure);
  };
  if (data?.deliveries.length === 0) return null;
  return (
    <Panel title="Webhooks">
      <Failure error={failure ?? error} />
      <table>
        <thead>
          <tr>
            <th scope="col">URL</th>
            <th scope="col">State</th>
            <th scope="col" class="num">
              Attempts
            </th>
            <th scope="col">Last attempt</th>
            <th scope="col">Next attempt</th>
            <th scope="col">
              <span class="hidden">Retry</span>
            </th>
          </tr>
        </thead>
        <tbody>
          {data?.deliveries.map((d) => (
            <Row key={d.id} delivery={d} retry={retry(d)} />
          ))}
        </tbody>
      </table>
    </Panel>
  );
}

function Row({ delivery: d, retry }: { delivery: Delivery; retry: () => void }) {
  const last = d.attempts.at(-1);
  return (
    <tr>
      <td class="mono">{d.url}</td>
      <td>{d.state === 'failed' ? <b class="bad">failed</b> : d.state}</td>
      <td class="num">{count(d.attempt_count)}</td>
      <td>
        {last && (
          <span title={instant(last.at)}>
            {last.error ?? `HTTP ${last.status}`} {ago(last.at)}
          </span>
        )}
      </td>
      <td>{d.next_attempt_at && <span title={instant(d.next_attempt_at)}>{ago(d.next_attempt_at)}</span>}</td>
      <td class="num">
        <button type="button" onClick={retry}>
          Send again
        </button>
      </td>
    </tr>
  );
}
