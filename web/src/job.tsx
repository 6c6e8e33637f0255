import { useEffect, useState } from 'preact/hooks';
import { isTerminal, type Job, jobPath, post, randomKey, request } from './api';
import { curlOfJob, curlOfSubmission } from './curl';
import { DeliveriesPanel } from './deliveries';
import { ago, between, bytes, count, instant, literal, short, shortID, span } from './format';
import { groupPath } from './groups';
import { parseExact, setDraft, submissionOf, submissionText } from './memory';
import { Badge, Copy, Fact, Failure, Labels, Panel } from './parts';
import { Picture } from './picture';
import { ResultsPanel } from './results';
import { go, href } from './route';
import { useJob, type Watched } from './usejob';

/** JobPage shows a job while it runs and after its end. */
export function JobPage({ id }: { id: string }) {
  const watched = useJob(id);
  const { job, error } = watched;
  useEffect(() => {
    if (job) document.title = `${job.state}: ${job.kind} · gather`;
  }, [job?.state]);
  if (!job)
    return (
      <>
        <h1>Job</h1>
        <p class="id">{id}</p>
        {error ? <Failure error={error} /> : <p class="empty">Reading …</p>}
      </>
    );
  return (
    <>
      <div class="title">
        <h1>{job.kind}</h1>
        <Badge state={job.state} />
        <span class="id">{job.id}</span>
        <Copy text={job.id}>Copy id</Copy>
        <Labels labels={job.labels} />
        <span class="spring" />
        <Actions job={job} reload={watched.reload} />
      </div>
      <Failure error={error} />
      {job.error && (
        <div class="failure" role="alert">
          <b>{job.error.title}</b> {job.error.detail}
        </div>
      )}
      <Advance {...watched} job={job} />
      <Relations job={job} />
      <div class="columns even">
        <Timeline job={job} nodes={watched.nodes} />
        <Outcome job={job} />
      </div>
      <Picture job={job} items={watched.items} version={watched.version} held={watched.held} />
      {job.links.deliveries && isTerminal(job.state) && <DeliveriesPanel job={job} />}
      <ResultsPanel job={job} items={watched.items} version={watched.version} held={watched.held} />
    </>
  );
}

function Actions({ job, reload }: { job: Job; reload: () => void }) {
  const [error, setError] = useState<unknown>();
  const submission = submissionOf(job);
  const act = (f: () => Promise<void>) => () => {
    setError(undefined);
    f().catch(setError);
  };
  const again = async () => {
    const next = await post<Job>('v1/jobs?int_encoding=string', await submissionText(job.id), { 'Idempotency-Key': randomKey() });
    go(`jobs/${next.id}`);
  };
  const retry = async () => {
    const next = await post<Job>(jobPath(job.id, '/retry'), undefined, { 'Idempotency-Key': randomKey() });
    go(`jobs/${next.id}`);
  };
  const edit = async () => {
    setDraft(parseExact(await submissionText(job.id)));
    go('submit');
  };
  return (
    <div class="tools">
      <Failure error={error} />
      {!isTerminal(job.state) && (
        <button type="button" class="danger" disabled={job.state === 'cancelling'} onClick={act(async () => void (await request('POST', jobPath(job.id, '/cancel'))))}>
          Cancel
        </button>
      )}
      {isTerminal(job.state) && job.outcome !== 'all_succeeded' && (
        <button type="button" title="A new job of the items that did not succeed" onClick={act(retry)}>
          Retry failed
        </button>
      )}
      <button type="button" onClick={act(again)}>
        Run again
      </button>
      <button type="button" onClick={act(edit)}>
        Edit
      </button>
      <Copy text={submission ? curlOfSubmission(submission) : curlOfJob(job.id)}>Copy as curl</Copy>
      {isTerminal(job.state) && (
        <button
          type="button"
          onClick={act(async () => {
            await request('DELETE', `v1/jobs/${job.id}`);
            reload();
            go('jobs');
          })}
        >
          Delete
        </button>
      )}
    </div>
  );
}

function Advance({ job, rate }: Watched & { job: Job }) {
  const p = job.progress;
  const left = p.eta_seconds;
  return (
    <div class="advance">
      <progress class={job.state} max={1} value={p.fraction} aria-label={`Progress: ${Math.floor(p.fraction * 100)} percent`} />
      <dl class="facts row">
        <Fact term="Done">
          {count(p.completed)} of {count(p.total)}
        </Fact>
        <Fact term="Failed">{p.failed > 0 ? <b class="bad">{count(p.failed)}</b> : 0}</Fact>
        {p.bytes_total > 0 && (
          <Fact term="Data">
            {bytes(p.bytes)} of {bytes(p.bytes_total)}
          </Fact>
        )}
        {!isTerminal(job.state) && <Fact term="Rate">{rate === null ? '–' : `${short(rate)}/s`}</Fact>}
        {!isTerminal(job.state) && <Fact term="Left">{left === null ? '–' : span(left)}</Fact>}
        {job.queue_position !== null && <Fact term="Place in the queue">{count(job.queue_position)}</Fact>}
      </dl>
    </div>
  );
}

/** Relations links the group of a job, the jobs that it waits for, and the job that it retries. */
function Relations({ job }: { job: Job }) {
  if (!job.group && !job.retry_of && job.after.length === 0) return null;
  return (
    <dl class="facts row">
      {job.group && (
        <Fact term="Group">
          <a class="id" href={href(groupPath(job.group))}>
            {job.group}
          </a>
        </Fact>
      )}
      {job.after.length > 0 && (
        <Fact term="After">
          {job.after.slice(0, 20).map((id) => (
            <JobLink key={id} id={id} />
          ))}
          {job.after.length > 20 && `and ${count(job.after.length - 20)} more`}
        </Fact>
      )}
      {job.retry_of && (
        <Fact term="Retry of">
          <JobLink id={job.retry_of} />
        </Fact>
      )}
    </dl>
  );
}

function JobLink({ id }: { id: string }) {
  return (
    <>
      <a class="id" href={href(`jobs/${id}`)} title={id}>
        {shortID(id)}
      </a>{' '}
    </>
  );
}

function Timeline({ job, nodes }: { job: Job; nodes: string[] }) {
  const steps = [
    { name: 'Submitted', at: job.created_at, note: `${job.durability}, priority ${job.priority}` },
    job.start_after && !job.started_at ? { name: 'Starts', at: job.start_after, note: '' } : null,
    job.started_at ? { name: 'Started', at: job.started_at, note: `after ${span(between(job.created_at, job.started_at))}${nodes.length > 0 ? `, on ${nodes.join(', ')}` : ''}` } : null,
    job.finished_at ? { name: job.state[0].toUpperCase() + job.state.slice(1), at: job.finished_at, note: job.started_at ? `ran ${span(between(job.started_at, job.finished_at))}` : '' } : null,
    job.expires_at ? { name: 'Expires', at: job.expires_at, note: '' } : null,
  ];
  return (
    <Panel title="Timeline">
      <ol class="timeline">
        {steps.map(
          (s) =>
            s && (
              <li key={s.name} class={Date.parse(s.at) > Date.now() ? 'later' : ''}>
                <b>{s.name}</b> <time dateTime={s.at}>{instant(s.at)}</time> <span class="muted">{ago(s.at)}</span>
                {s.note && <div class="muted">{s.note}</div>}
              </li>
            ),
        )}
      </ol>
    </Panel>
  );
}

function Outcome({ job }: { job: Job }) {
  const submission = submissionOf(job);
  const result = job.result === null ? '' : literal(job.result);
  return (
    <Panel title="Result" tools={result && <Copy text={result}>Copy</Copy>}>
      {result ? (
        <p class="outcome mono">{result.length > 4000 ? `${result.slice(0, 4000)} …` : result}</p>
      ) : (
        <p class="empty">{isTerminal(job.state) ? 'No reduced value; the items have the results.' : 'Not yet.'}</p>
      )}
      {job.details && (
        <details>
          <summary>Details</summary>
          <pre tabIndex={0}>{JSON.stringify(job.details, null, 2)}</pre>
        </details>
      )}
      {submission && (
        <details>
          <summary>Submission</summary>
          <pre tabIndex={0}>{JSON.stringify(submission, null, 2).slice(0, 20_000)}</pre>
        </details>
      )}
    </Panel>
  );
}
