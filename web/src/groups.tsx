import { useEffect, useState } from 'preact/hooks';
import { ApiError, get, type Group, type GroupList, type JobCounts, type JobList, type State } from './api';
import { Bulk } from './bulk';
import { ago, count, instant, span } from './format';
import { JobTable } from './jobtable';
import { Badge, Copy, Fact, Failure, Pager, Panel, Progress } from './parts';
import { usePoll } from './poll';
import { go, href } from './route';

const states: State[] = ['queued', 'running', 'cancelling', 'succeeded', 'failed', 'cancelled'];
const ended = (n: JobCounts): number => n.succeeded + n.failed + n.cancelled;

/** stateOf returns the state of the color of a group's progress. */
const stateOf = (g: Group): State => (!g.finished_at ? 'running' : g.jobs.failed > 0 ? 'failed' : g.jobs.cancelled > 0 ? 'cancelled' : 'succeeded');

/** groupPath returns the route of a group. */
export const groupPath = (id: string): string => `groups/${encodeURIComponent(id)}`;

/** Groups lists groups of jobs. */
export function Groups() {
  const [trail, setTrail] = useState<string[]>([]);
  const after = trail.at(-1) ?? '';
  const { data, error } = usePoll((signal) => get<GroupList>(`v1/groups?page_size=50${after && `&after=${encodeURIComponent(after)}`}`, { signal }), 2000, `groups ${after}`);
  return (
    <>
      <h1>Groups</h1>
      <Failure error={error} />
      <div class="panel flush">
        {data?.groups.length === 0 ? (
          <p class="empty">No groups. A batch is one, and so are jobs with the same group.</p>
        ) : (
          <table>
            <thead>
              <tr>
                <th scope="col">Group</th>
                <th scope="col" class="num">
                  Jobs
                </th>
                <th scope="col" class="num">
                  Failed
                </th>
                <th scope="col">Progress</th>
                <th scope="col" class="num wide">
                  Created
                </th>
              </tr>
            </thead>
            <tbody>
              {data?.groups.map((g) => (
                <tr key={g.id}>
                  <td>
                    <a class="id" href={href(groupPath(g.id))}>
                      {g.id}
                    </a>
                  </td>
                  <td class="num">
                    {count(ended(g.jobs))} of {count(g.jobs.total)}
                  </td>
                  <td class="num">{g.jobs.failed > 0 ? <b class="bad">{count(g.jobs.failed)}</b> : 0}</td>
                  <td>
                    <Progress progress={g.progress} state={stateOf(g)} />
                  </td>
                  <td class="num wide" title={instant(g.created_at)}>
                    {ago(g.created_at)}
                  </td>
                </tr>
              ))}
            </tbody>
          </table>
        )}
      </div>
      <Pager trail={trail} next={data?.next_after} onTurn={setTrail} />
    </>
  );
}

/** GroupPage shows all jobs of a group as one. */
export function GroupPage({ id }: { id: string }) {
  const filter = new URLSearchParams({ group: id });
  const { data: group, error, refresh } = usePoll((signal) => get<Group>(`v1/${groupPath(id)}`, { signal }), 1000, `group ${id}`);
  const jobs = usePoll((signal) => get<JobList>(`v1/jobs?${filter}&page_size=20`, { signal }), 2000, `jobs of ${id}`);
  const deleted = group !== undefined && error instanceof ApiError && error.status === 404;
  useEffect(() => {
    if (deleted) go('groups', undefined, true);
  }, [deleted]);
  return (
    <>
      <div class="title">
        <h1>Group</h1>
        <span class="id">{id}</span>
        <Copy text={id}>Copy id</Copy>
        <span class="spring" />
        <Bulk filter={filter} what="jobs" onDone={refresh} />
      </div>
      <Failure error={error} />
      {group && <Advance group={group} />}
      <Panel title="Newest jobs" tools={<a href={href('jobs', filter)}>All jobs of the group</a>}>
        <JobTable jobs={jobs.data?.jobs ?? []} empty={jobs.data ? 'No jobs.' : 'Reading …'} />
      </Panel>
    </>
  );
}

function Advance({ group }: { group: Group }) {
  const p = group.progress;
  return (
    <div class="advance">
      <progress class={stateOf(group)} max={1} value={p.fraction} aria-label={`Progress: ${Math.floor(p.fraction * 100)} percent`} />
      <dl class="facts row">
        <Fact term="Jobs ended">
          {count(ended(group.jobs))} of {count(group.jobs.total)}
        </Fact>
        {states.map(
          (state) =>
            group.jobs[state] > 0 && (
              <Fact key={state} term={<Badge state={state} />}>
                <a href={href('jobs', new URLSearchParams({ group: group.id, state }))}>{count(group.jobs[state])}</a>
              </Fact>
            ),
        )}
        <Fact term="Items done">
          {count(p.completed)} of {count(p.total)}
        </Fact>
        <Fact term="Items failed">{p.failed > 0 ? <b class="bad">{count(p.failed)}</b> : 0}</Fact>
        {!group.finished_at && <Fact term="Left">{p.eta_seconds === null ? '–' : span(p.eta_seconds)}</Fact>}
        <Fact term="Created">
          <span title={instant(group.created_at)}>{ago(group.created_at)}</span>
        </Fact>
        {group.finished_at && (
          <Fact term="Finished">
            <span title={instant(group.finished_at)}>{ago(group.finished_at)}</span>
          </Fact>
        )}
      </dl>
    </div>
  );
}
