import { useEffect, useMemo, useRef, useState } from 'preact/hooks';
import { isTerminal, type Item, type Job, jobPath, message, request } from './api';
import { count, literal, span } from './format';
import { expected, findFailed, type Items, page } from './items';
import { Failure, Panel, save } from './parts';
import { VirtualTable } from './virtual';

type Order = 'completed' | 'index' | 'failed';

const head = (
  <>
    <span role="columnheader" class="num">
      Index
    </span>
    <span role="columnheader">Value</span>
    <span role="columnheader" class="num">
      Took
    </span>
  </>
);

function cells(item: Item | undefined) {
  if (!item)
    return (
      <>
        <span role="cell" class="num muted">
          …
        </span>
        <span role="cell" />
        <span role="cell" />
      </>
    );
  return (
    <>
      <span role="cell" class="num">
        {count(item.index)}
      </span>
      {item.error === null ? (
        <span role="cell" class="mono" title={literal(item.value)}>
          {literal(item.value)}
        </span>
      ) : (
        <span role="cell" class="bad" title={item.error}>
          ✕ {item.error}
        </span>
      )}
      <span role="cell" class="num muted">
        {span(item.duration_ms / 1000)}
      </span>
    </>
  );
}

interface Props {
  job: Job;
  items: Items;
  version: number;
  held: boolean;
}

/** ResultsPanel shows the results of a job, as they complete. */
export function ResultsPanel(props: Props) {
  const { job, items, version, held } = props;
  const failures = held ? items.failed.length : job.progress.failed;
  const [choice, setOrder] = useState<Order | null>(null);
  const done = isTerminal(job.state);
  const order = choice ?? (failures > 0 ? 'failed' : held || !done ? 'completed' : 'index');
  const total = held ? items.list.length : Math.min(expected(job), done ? Infinity : job.progress.completed + job.progress.failed);
  const tools = (
    <>
      <label>
        <span class="hidden">Order</span>
        <select value={order} onChange={(e) => setOrder(e.currentTarget.value as Order)}>
          <option value="completed">As they completed</option>
          <option value="index" disabled={!held && !done}>
            By index
          </option>
          <option value="failed">{held ? 'Failed first' : 'Failed only'}</option>
        </select>
      </label>
      <Download job={job} />
    </>
  );
  return (
    <Panel title={`Results (${count(total)})`} tools={tools} class="results">
      {total === 0 ? (
        <p class="empty">{done ? 'The job has no results.' : 'No result yet.'}</p>
      ) : held ? (
        <Held items={items} version={version} order={order} />
      ) : order === 'failed' ? (
        <Failed job={job} />
      ) : (
        <Paged key={order} job={job} order={order} total={total} />
      )}
    </Panel>
  );
}

function Held({ items, version, order }: { items: Items; version: number; order: Order }) {
  const { list, failed } = items;
  const sorted = useMemo(() => {
    if (order === 'completed') return list;
    if (order === 'index') return [...list].sort((a, b) => a.index - b.index);
    return [...failed.map((i) => list[i]), ...list.filter((item) => item.error === null)];
  }, [version, order, items]);
  return <VirtualTable label="Results" count={sorted.length} head={head} row={(i) => cells(sorted[i])} />;
}

function Failed({ job }: { job: Job }) {
  const [found, setFound] = useState<Item[]>();
  const [error, setError] = useState<unknown>();
  useEffect(() => {
    const stop = new AbortController();
    findFailed(job, 1000, stop.signal).then(setFound, (e) => !stop.signal.aborted && setError(e));
    return () => stop.abort();
  }, [job.id, job.progress.failed]);
  if (error) return <Failure error={error} />;
  if (!found) return <p class="empty">Looking for failed items …</p>;
  if (found.length === 0) return <p class="empty">No item has failed.</p>;
  return <VirtualTable label="Failed items" count={found.length} head={head} row={(i) => cells(found[i])} />;
}

const pageRows = 500;
const maxPages = 20;

/** Paged reads the visible rows of a job with many results. A row in the order of completion is a sequence number. */
function Paged({ job, order, total }: { job: Job; order: 'completed' | 'index'; total: number }) {
  const pages = useRef(new Map<number, Item[]>());
  const [error, setError] = useState<unknown>();
  const [, render] = useState(0);
  const stop = useRef(new AbortController());
  useEffect(() => () => stop.current.abort(), []);
  const load = (n: number) => {
    const known = pages.current.get(n);
    const full = Math.min(pageRows, total - n * pageRows);
    if (known && (known.length >= full || isTerminal(job.state) === false)) return;
    pages.current.set(n, known ?? []);
    const after = order === 'index' ? n * pageRows - 1 : n * pageRows + 2; // the first item follows submission and start
    page(job.id, order, after, pageRows, stop.current.signal).then(
      (items) => {
        pages.current.delete(n);
        pages.current.set(n, items);
        for (const old of pages.current.keys()) if (pages.current.size > maxPages) pages.current.delete(old);
        render((x) => x + 1);
      },
      (e) => !stop.current.signal.aborted && setError(e),
    );
  };
  return (
    <>
      <Failure error={error} />
      <VirtualTable
        label="Results"
        count={total}
        head={head}
        row={(i) => cells(pages.current.get(Math.floor(i / pageRows))?.[i % pageRows])}
        range={(from, to) => {
          for (let n = Math.floor(from / pageRows); n <= Math.floor(Math.max(from, to - 1) / pageRows); n++) load(n);
        }}
      />
    </>
  );
}

function Download({ job }: { job: Job }) {
  const [state, setState] = useState('');
  const download = async (media: string, suffix: string) => {
    setState('Reading …');
    try {
      const response = await request('GET', jobPath(job.id, '/results'), { headers: { Accept: media } });
      save(await response.blob(), `${job.id}.${suffix}`);
      setState('');
    } catch (error) {
      setState(message(error));
    }
  };
  return (
    <>
      <span role="status" class="muted">
        {state}
      </span>
      <button type="button" onClick={() => download('application/x-ndjson', 'ndjson')}>
        NDJSON
      </button>
      {job.kind === 'array_sum' && job.state === 'succeeded' && (
        <button type="button" onClick={() => download('application/x-npy', 'npy')}>
          .npy
        </button>
      )}
    </>
  );
}
