import { get, type Node } from './api';
import { ago, count, instant, shortID } from './format';
import { Fact, Failure, Panel } from './parts';
import { usePoll } from './poll';
import { href } from './route';

/** NodeCards shows the load of each node. */
export function NodeCards({ nodes }: { nodes: Node[] }) {
  return (
    <ul class="cards">
      {nodes.map((n) => (
        <li key={n.id}>
          <strong>{n.name}</strong> {n.self && <span class="label">answers</span>} {n.draining && <span class="label warn">draining</span>}
          <span class="workers" role="img" aria-label={`${n.workers_busy} of ${n.workers} workers busy`}>
            {Array.from({ length: Math.min(n.workers, 64) }, (_, i) => (
              <i key={i} class={i < n.workers_busy ? 'busy' : ''} />
            ))}
          </span>
        </li>
      ))}
    </ul>
  );
}

/** Nodes lists the servers that share the work. */
export function Nodes() {
  const { data, error } = usePoll((signal) => get<{ nodes: Node[] }>('v1/nodes', { signal }), 2000, 'nodes');
  return (
    <>
      <h1>Nodes</h1>
      <Failure error={error} />
      {data?.nodes.map((n) => (
        <Panel key={n.id} title={n.name}>
          <NodeCards nodes={[n]} />
          <dl class="facts">
            <Fact term="Version">{n.version}</Fact>
            <Fact term="Started">
              <span title={instant(n.started_at)}>{ago(n.started_at)}</span>
            </Fact>
            <Fact term="Last heartbeat">{ago(n.seen_at)}</Fact>
            <Fact term="Workers busy">
              {n.workers_busy} of {n.workers}
            </Fact>
            <Fact term="Waiting items">{count(n.waiting_items)}</Fact>
            <Fact term="Log messages behind">{count(n.behind)}</Fact>
            <Fact term="Clock skew">{n.clock_skew_seconds.toFixed(3)} s</Fact>
          </dl>
          {n.jobs.length > 0 && (
            <table>
              <thead>
                <tr>
                  <th scope="col">Job</th>
                  <th scope="col">Kind</th>
                  <th scope="col" class="num">
                    Tasks on workers
                  </th>
                  <th scope="col" class="num">
                    Tasks on timers
                  </th>
                </tr>
              </thead>
              <tbody>
                {n.jobs.map((j) => (
                  <tr key={j.id}>
                    <td>
                      <a class="id" href={href(`jobs/${j.id}`)}>
                        {shortID(j.id)}
                      </a>
                    </td>
                    <td>{j.kind}</td>
                    <td class="num">{count(j.running)}</td>
                    <td class="num">{count(j.waiting)}</td>
                  </tr>
                ))}
              </tbody>
            </table>
          )}
        </Panel>
      ))}
    </>
  );
}
