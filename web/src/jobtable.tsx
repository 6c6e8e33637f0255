import type { Job } from './api';
import { ago, between, instant, shortID, span } from './format';
import { Badge, Labels, Progress } from './parts';
import { href } from './route';

interface Props {
  jobs: Job[];
  empty: string;
  /** compact leaves columns out. */
  compact?: boolean;
  /** selected is the row that the keyboard has chosen. */
  selected?: number;
}

/** JobTable lists jobs. */
export function JobTable({ jobs, empty, compact, selected }: Props) {
  if (jobs.length === 0) return <p class="empty">{empty}</p>;
  return (
    <table class="jobs">
      <thead>
        <tr>
          <th scope="col">State</th>
          <th scope="col">Job</th>
          <th scope="col">Kind</th>
          {!compact && (
            <th scope="col" class="wide">
              Labels
            </th>
          )}
          {!compact && (
            <th scope="col" class="wide">
              Priority
            </th>
          )}
          <th scope="col">Progress</th>
          <th scope="col" class="num">
            Created
          </th>
          <th scope="col" class="num wide">
            Run time
          </th>
        </tr>
      </thead>
      <tbody>
        {jobs.map((job, i) => (
          <tr key={job.id} class={i === selected ? 'selected' : ''} aria-current={i === selected ? 'true' : undefined}>
            <td>
              <Badge state={job.state} />
            </td>
            <td>
              <a class="id" href={href(`jobs/${job.id}`)} title={job.id}>
                {shortID(job.id)}
              </a>
            </td>
            <td>{job.kind}</td>
            {!compact && (
              <td class="wide">
                <Labels labels={job.labels} />
              </td>
            )}
            {!compact && <td class="wide">{job.priority === 'normal' ? <span class="muted">normal</span> : job.priority}</td>}
            <td>
              <Progress progress={job.progress} state={job.state} />
            </td>
            <td class="num" title={instant(job.created_at)}>
              {ago(job.created_at)}
            </td>
            <td class="num wide">{job.started_at ? span(between(job.started_at, job.finished_at)) : ''}</td>
          </tr>
        ))}
      </tbody>
    </table>
  );
}
