import { useCallback, useMemo } from 'preact/hooks';
import { isTerminal, type Item, type Job } from './api';
import { Canvas, useClock } from './canvas';
import { between, count, span } from './format';
import { submissionOf } from './memory';
import { colors, still } from './theme';

interface Bar {
  index: number;
  start: number;
  length: number;
  failed: boolean;
  open: boolean;
}

/** schedule returns when items start that run in the order of their index, as many at a time as there are lanes. */
export function schedule(lengths: number[], lanes: number): number[] {
  const free = new Array<number>(Math.min(lanes, lengths.length)).fill(0); // a heap of the times at which lanes get free
  return lengths.map((length) => {
    const start = free[0];
    let i = 0;
    const end = start + length;
    for (;;) {
      let child = 2 * i + 1;
      if (child >= free.length) break;
      if (child + 1 < free.length && free[child + 1] < free[child]) child++;
      if (free[child] >= end) break;
      free[i] = free[child];
      i = child;
    }
    free[i] = end;
    return start;
  });
}

/** lanesOf returns how many items ran at a time, the fewest with which all of them fit into the run time. */
export function lanesOf(lengths: number[], run: number): number {
  const fits = (lanes: number) => {
    const starts = schedule(lengths, lanes);
    return starts.every((s, i) => s + lengths[i] <= run * 1.02 + 0.005);
  };
  let [low, high] = [1, lengths.length];
  while (low < high) {
    const middle = (low + high) >> 1;
    if (fits(middle)) high = middle;
    else low = middle + 1;
  }
  return low;
}

function barsOf(job: Job, list: Item[], now: number): Bar[] {
  const run = between(job.started_at, job.finished_at ?? new Date(now).toISOString());
  const sorted = [...list].sort((a, b) => a.index - b.index);
  const lengths = sorted.map((item) => item.duration_ms / 1000);
  const known = submissionOf(job)?.concurrency;
  const done = isTerminal(job.state);
  const lanes = typeof known === 'number' ? known : done && job.state === 'succeeded' && lengths.length > 1 ? lanesOf(lengths, run) : lengths.length || 1;
  const starts = schedule(lengths, lanes);
  const bars: Bar[] = sorted.map((item, i) => ({ index: item.index, start: starts[i], length: lengths[i], failed: item.error !== null, open: false }));
  // While nothing bounds how many items run, the others are under way since the start.
  if (!done && typeof known !== 'number' && job.started_at && job.progress.total <= 5000) {
    const have = new Set(list.map((item) => item.index));
    for (let i = 0; i < job.progress.total; i++) if (!have.has(i)) bars.push({ index: i, start: 0, length: run, failed: false, open: true });
  }
  return bars;
}

/** Gantt shows when each item ran. Items have no start times: they are worked out from durations and concurrency. */
export function Gantt({ job, list, version }: { job: Job; list: Item[]; version: number }) {
  const done = isTerminal(job.state);
  const now = useClock(still() ? 1000 : 200, !done);
  const bars = useMemo(() => barsOf(job, list, now), [version, job.state, done ? 0 : now]);
  const total = Math.max(1, job.progress.total);
  const rows = Math.min(total, 320);
  const height = Math.min(340, Math.max(24, rows * (rows <= 24 ? 14 : rows <= 80 ? 6 : 2))) + 22;
  const end = Math.max(0.001, between(job.started_at, job.finished_at ?? new Date(now).toISOString()), ...bars.slice(0, 20_000).map((b) => b.start + b.length).slice(0, 5000));
  const draw = useCallback(
    (c: CanvasRenderingContext2D, width: number, h: number) => {
      const palette = colors('accent', 'bad', 'muted', 'line', 'running');
      const body = h - 22;
      c.font = '11px system-ui, sans-serif';
      for (let i = 0; i <= 4; i++) {
        const x = Math.round((i / 4) * (width - 1)) + 0.5;
        c.strokeStyle = palette.line;
        c.beginPath();
        c.moveTo(x, 0);
        c.lineTo(x, body);
        c.stroke();
        c.fillStyle = palette.muted;
        c.textAlign = i === 0 ? 'left' : i === 4 ? 'right' : 'center';
        c.fillText(i === 0 ? '0' : span((end * i) / 4), x, h - 6);
      }
      const each = body / total;
      for (const b of bars) {
        c.fillStyle = b.failed ? palette.bad : b.open ? palette.running : palette.accent;
        c.globalAlpha = b.open ? 0.45 : 1;
        const top = b.index * each;
        const thick = Math.max(1, each > 4 ? each - 2 : each > 2 ? each - 1 : each);
        c.fillRect((b.start / end) * width, top, Math.max(1, (b.length / end) * width), thick);
      }
      c.globalAlpha = 1;
    },
    [bars, end, total],
  );
  const byIndex = useMemo(() => new Map(bars.map((b) => [b.index, b])), [bars]);
  return (
    <Canvas
      height={height}
      label={`${count(list.length)} of ${count(job.progress.total)} items over ${span(end)}`}
      draw={draw}
      at={(_x, y, _w, h) => {
        const b = byIndex.get(Math.floor((y / (h - 22)) * total));
        return b ? `item ${count(b.index)}: ${b.open ? 'under way for' : b.failed ? 'failed after' : 'took'} ${span(b.length)}` : null;
      }}
    />
  );
}
