import type { JobList, Node } from './api';
import { get } from './api';
import { Chart, type Line } from './chart';
import { bytes, count, short, span } from './format';
import { JobTable } from './jobtable';
import { NodeCards } from './nodes';
import { Meter, Panel } from './parts';
import { usePoll } from './poll';
import { href } from './route';
import { type Sample, samples } from './samples';
import { useStore } from './store';

interface TileProps {
  title: string;
  value: string;
  note?: string;
  list: Sample[];
  lines: Line[];
}

function Tile({ title, value, note, list, lines }: TileProps) {
  return (
    <section class="tile" aria-label={title}>
      <h2>{title}</h2>
      <p class="value">{value}</p>
      <p class="note">{note ?? ' '}</p>
      <Chart x={list.map((s) => s.at)} lines={lines} height={44} label={`${title} over the last five minutes, now ${value}`} />
    </section>
  );
}

const rate = (n: number | null | undefined) => (n === null || n === undefined ? '–' : `${short(n)}/s`);

/** Overview shows the load of the service, from GET /v1/stats. */
export function Overview() {
  const list = useStore(samples);
  const recent = usePoll((signal) => get<JobList>('v1/jobs?page_size=8', { signal }), 3000, 'recent');
  const nodes = usePoll((signal) => get<{ nodes: Node[] }>('v1/nodes', { signal }), 5000, 'nodes');
  const last = list.at(-1);
  if (!last) return <p class="empty">Reading the state of the service …</p>;
  const s = last.stats;
  const line = (label: string, color: Line['color'], of: (s: Sample) => number | null | undefined, dashed?: boolean): Line => ({
    label,
    color,
    dashed,
    values: list.map((one) => of(one) ?? null),
  });
  const quantiles = (of: 'wait' | 'duration') => ({
    value: s.latency[of] ? span(s.latency[of].p50) : '–',
    note: s.latency[of] ? `median; p95 ${span(s.latency[of].p95)}` : 'no job in five minutes',
    lines: [line('p50', 'accent', (x) => x.stats.latency[of]?.p50), line('p95', 'second', (x) => x.stats.latency[of]?.p95, true)],
  });
  const bounds = s.bounds;
  return (
    <>
      <h1>Overview</h1>
      <div class="tiles">
        <Tile title="Queue depth" value={count(s.jobs.queued)} note={s.jobs.delayed > 0 ? `${count(s.jobs.delayed)} scheduled for later` : 'jobs that wait to start'} list={list} lines={[line('queued', 'accent', (x) => x.stats.jobs.queued)]} />
        <Tile title="Running" value={count(s.jobs.running)} note="jobs under way" list={list} lines={[line('running', 'accent', (x) => x.stats.jobs.running)]} />
        <Tile title="Workers" value={`${s.workers_busy} of ${s.workers}`} note="busy" list={list} lines={[line('busy', 'accent', (x) => x.stats.workers_busy)]} />
        <Tile title="Waiting items" value={short(s.waiting_items)} note="on timers, without a worker" list={list} lines={[line('waiting', 'accent', (x) => x.stats.waiting_items)]} />
        <Tile title="Accepted" value={rate(last.accepted)} note={`${count(s.totals.accepted)} in total`} list={list} lines={[line('accepted', 'accent', (x) => x.accepted)]} />
        <Tile title="Finished" value={rate(last.finished)} note={`${count(s.totals.failed)} failed, ${count(s.totals.cancelled)} cancelled`} list={list} lines={[line('finished', 'accent', (x) => x.finished), line('failed', 'bad', (x) => x.failed)]} />
        <Tile title="Wait" list={list} {...quantiles('wait')} />
        <Tile title="Duration" list={list} {...quantiles('duration')} />
      </div>
      <div class="columns">
        <Panel title="Recent jobs" tools={<a href={href('jobs')}>All jobs</a>}>
          <JobTable jobs={recent.data?.jobs ?? []} compact empty={recent.data ? 'No jobs yet.' : 'Reading …'} />
        </Panel>
        <Panel title="Bounds">
          <Meter name="Unfinished jobs" {...bounds.jobs} />
          {bounds.tenant_jobs && <Meter name="Your unfinished jobs" {...bounds.tenant_jobs} />}
          <Meter name="Memory of jobs" {...bounds.bytes} format={bytes} />
          <Meter name="Waiting items" {...bounds.waiting_items} format={short} />
          <Meter name="Open streams" {...bounds.streams} />
        </Panel>
      </div>
      {nodes.data && nodes.data.nodes.length > 1 && (
        <Panel title="Nodes" tools={<a href={href('nodes')}>Details</a>}>
          <NodeCards nodes={nodes.data.nodes} />
        </Panel>
      )}
    </>
  );
}
