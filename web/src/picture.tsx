import { useEffect, useMemo, useState } from 'preact/hooks';
import { isTerminal, type Item, type Job } from './api';
import { Chart } from './chart';
import { count, short } from './format';
import { Gantt } from './gantt';
import { ChunkGrid, HeatMap, number } from './grid';
import { expected, type Items, maxHeld, resultShape, sampleItems } from './items';
import { Panel } from './parts';

interface Props {
  job: Job;
  items: Items;
  version: number;
  held: boolean;
}

/** Picture shows a job's results as people would rather see them than read them; nothing for kinds without a picture. */
export function Picture({ job, items, version, held }: Props) {
  const done = isTerminal(job.state);
  const [op, setOp] = useState<string>();
  const [sampled, setSampled] = useState<Item[]>([]);
  useEffect(() => {
    if (held || !done || expected(job) <= maxHeld) return;
    const stop = new AbortController();
    sampleItems(job, stop.signal).then(setSampled, () => undefined);
    return () => stop.abort();
  }, [held, done, job.id]);

  const list = held ? items.list : sampled;
  const array = job.kind.startsWith('array_');
  const first = list[0]?.value;
  const ops = array && first !== null && typeof first === 'object' && !Array.isArray(first) ? Object.keys(first as object) : [];
  const chosen = ops.length > 0 ? (op ?? ops[0]) : undefined;
  const shape = resultShape(job);
  const sizes = shape?.filter((n) => n !== 1) ?? [];
  const tools = ops.length > 1 && (
    <label>
      <span class="hidden">Statistic</span>
      <select value={chosen} onChange={(e) => setOp(e.currentTarget.value)}>
        {ops.map((name) => (
          <option key={name}>{name}</option>
        ))}
      </select>
    </label>
  );
  const note = held ? '' : `, ${count(list.length)} of ${count(expected(job))}`;

  if (job.progress.total === 0) return null;
  if (array && (!shape || shape.length === 0 || !done))
    return (
      <Panel title="Chunks" tools={tools}>
        {/* With an axis the items are elements of the result, which is not known before the end. */}
        <ChunkGrid job={job} list={held && (shape?.length === 0 || items.list.length <= job.progress.total) ? list : []} version={version} op={chosen} />
      </Panel>
    );
  if (list.length === 0) return null;
  if (array && held && sizes.length === 2)
    return (
      <Panel title={`Result, ${sizes.join(' × ')}`} tools={tools}>
        <HeatMap list={list} shape={sizes as [number, number]} version={version} op={chosen} />
      </Panel>
    );
  if (array)
    return (
      <Panel title={`Result, ${shape?.join(' × ')}${note}`} tools={tools}>
        <Values list={list} version={version} op={chosen} />
      </Panel>
    );
  if (job.kind === 'squares')
    return (
      <Panel title={`Values${note}`}>
        <Values list={list} version={version} points />
      </Panel>
    );
  if ((job.kind === 'sleep_batch' || job.kind === 'http_batch') && held)
    return (
      <Panel title="Items over time">
        <Gantt job={job} list={list} version={version} />
      </Panel>
    );
  return null;
}

/** Values draws values over their index, as a line or as points. */
function Values({ list, version, op, points }: { list: Item[]; version: number; op?: string; points?: boolean }) {
  const [x, lines] = useMemo(() => {
    const sorted = [...list].sort((a, b) => a.index - b.index);
    const values = sorted.map((item) => {
      const v = number(item.value, op);
      return Number.isFinite(v) ? v : null;
    });
    return [sorted.map((item) => item.index), [{ label: op ?? 'value', color: 'accent' as const, values }]] as const;
  }, [version, list, op]);
  return <Chart x={x} lines={[...lines]} height={240} axes points={points || list.length < 3} format={short} label={`${count(list.length)} values over their index`} />;
}
