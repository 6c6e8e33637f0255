import { useEffect, useRef, useState } from 'preact/hooks';
import { get, type JobList, type Kind, type Priority, type State } from './api';
import { Bulk } from './bulk';
import { fromLocalTime, toLocalTime } from './format';
import { groupPath } from './groups';
import { JobTable } from './jobtable';
import { useKeys } from './keyboard';
import { Failure } from './parts';
import { usePoll } from './poll';
import { go, href } from './route';

const states: State[] = ['queued', 'running', 'cancelling', 'succeeded', 'failed', 'cancelled'];
const priorities: Priority[] = ['high', 'normal', 'low'];
const times = { created_after: 'after', created_before: 'before' };
const filters = ['state', 'kind', 'priority', 'label', 'group', ...Object.keys(times)];

/** filterOf returns the filters of the address as those of GET /v1/jobs. */
function filterOf(query: URLSearchParams): URLSearchParams {
  const filter = new URLSearchParams();
  for (const name of filters) for (const value of query.getAll(name)) filter.append(name, value);
  return filter;
}

/** Jobs is the list of jobs with its filters. */
export function Jobs({ query }: { query: URLSearchParams }) {
  const filter = filterOf(query);
  const token = query.get('page') ?? '';
  // The tokens of the pages before this one; the browser's history has them too.
  const trail = useRef<string[]>([]);
  const [selected, setSelected] = useState(-1);
  const labelField = useRef<HTMLInputElement>(null);

  const params = new URLSearchParams(filter);
  params.set('page_size', '50');
  if (token) params.set('page_token', token);
  const { data, error, refresh } = usePoll((signal) => get<JobList>(`v1/jobs?${params}`, { signal }), 2000, params.toString());
  const kinds = usePoll((signal) => get<{ kinds: Kind[] }>('v1/kinds', { signal }), 0, 'kinds');
  const jobs = data?.jobs ?? [];

  const show = (next: URLSearchParams) => {
    trail.current = [];
    setSelected(-1);
    go('jobs', next);
  };
  const change = (name: string, values: string[]) => {
    const next = filterOf(query);
    next.delete(name);
    for (const value of values) if (value) next.append(name, value);
    show(next);
  };
  const page = (to: string) => {
    const next = filterOf(query);
    if (to) next.set('page', to);
    setSelected(-1);
    go('jobs', next);
  };
  const forward = () => {
    if (!data?.next_page_token) return;
    trail.current.push(token);
    page(data.next_page_token);
  };
  const back = () => {
    if (token) page(trail.current.pop() ?? '');
  };
  useKeys((key, e) => {
    const steps: Record<string, number> = { j: 1, ArrowDown: 1, k: -1, ArrowUp: -1 };
    if (key in steps && jobs.length > 0) {
      e.preventDefault();
      setSelected((i) => Math.max(0, Math.min(jobs.length - 1, i + steps[key])));
    } else if (key === 'Enter' && jobs[selected] && (e.target as HTMLElement).tagName !== 'A' && (e.target as HTMLElement).tagName !== 'BUTTON') go(`jobs/${jobs[selected].id}`);
    else if (key === 'n') forward();
    else if (key === 'p') back();
    else if (key === '/') {
      e.preventDefault();
      labelField.current?.focus();
    }
  });
  useEffect(() => document.querySelector('tr.selected')?.scrollIntoView({ block: 'nearest' }), [selected]);

  return (
    <>
      <div class="title">
        <h1>Jobs</h1>
        <a class="button primary" href={href('submit')}>
          Submit a job
        </a>
      </div>
      <div class="filters" role="search" aria-label="Filters">
        <fieldset class="chips">
          <legend class="hidden">State</legend>
          {states.map((s) => (
            <label key={s} class="chip">
              <input
                type="checkbox"
                checked={filter.getAll('state').includes(s)}
                onChange={(e) => change('state', e.currentTarget.checked ? [...filter.getAll('state'), s] : filter.getAll('state').filter((x) => x !== s))}
              />
              {s}
            </label>
          ))}
        </fieldset>
        <label>
          <span class="hidden">Kind</span>
          <select value={filter.get('kind') ?? ''} onChange={(e) => change('kind', [e.currentTarget.value])}>
            <option value="">Every kind</option>
            {kinds.data?.kinds.map((k) => (
              <option key={k.name} value={k.name}>
                {k.name}
              </option>
            ))}
          </select>
        </label>
        <label>
          <span class="hidden">Priority</span>
          <select value={filter.get('priority') ?? ''} onChange={(e) => change('priority', [e.currentTarget.value])}>
            <option value="">Every priority</option>
            {priorities.map((p) => (
              <option key={p}>{p}</option>
            ))}
          </select>
        </label>
        <form
          key={filter.getAll('label').join(' ')}
          onSubmit={(e) => {
            e.preventDefault();
            change('label', (labelField.current?.value ?? '').split(/[\s,]+/));
          }}
        >
          <label>
            <span class="hidden">Labels, as key:value</span>
            <input ref={labelField} type="search" placeholder="label, as team:a" defaultValue={filter.getAll('label').join(' ')} pattern="\s*([A-Za-z0-9._\/\-]{1,63}:[^\s,]*[\s,]*)*" title="key:value, several separated by spaces" />
          </label>
        </form>
        {Object.entries(times).map(([name, text]) => (
          <label key={name}>
            <span class="muted">Created {text}</span>
            <input type="datetime-local" value={toLocalTime(filter.get(name))} onChange={(e) => change(name, [fromLocalTime(e.currentTarget.value)])} />
          </label>
        ))}
        {filter.get('group') && (
          <a class="label" href={href(groupPath(filter.get('group') ?? ''))}>
            group {filter.get('group')}
          </a>
        )}
        {filter.size > 0 && (
          <button type="button" class="plain" onClick={() => show(new URLSearchParams())}>
            Clear
          </button>
        )}
      </div>
      <Failure error={error} />
      <div class="panel flush">
        <JobTable jobs={jobs} selected={selected} empty={data ? (filter.size > 0 ? 'No job matches the filters.' : 'No jobs yet.') : 'Reading …'} />
      </div>
      <div class="pager">
        <Bulk filter={filter} onDone={refresh} />
        <span class="spring" />
        <button type="button" disabled={!token} onClick={() => page('')}>
          Newest
        </button>
        <button type="button" disabled={!token} onClick={back}>
          Previous
        </button>
        <button type="button" disabled={!data?.next_page_token} onClick={forward}>
          Next
        </button>
      </div>
    </>
  );
}
