import { useCallback, useMemo } from 'preact/hooks';
import type { Item, Job } from './api';
import { Canvas, ramp } from './canvas';
import { count, literal } from './format';
import { submissionOf } from './memory';
import { colors } from './theme';

const maxCells = 20_000;

/** number returns a result as a number; NaN when it is none, or lies beyond doubles. */
export function number(value: unknown, op?: string): number {
  const v = op !== undefined && value !== null && typeof value === 'object' ? (value as Record<string, unknown>)[op] : value;
  return v === null || typeof v === 'boolean' || typeof v === 'object' ? NaN : Number(v);
}

/** columnsOf returns how many cells a row of the grid of chunks has. */
function columnsOf(job: Job, cells: number): number {
  const array = submissionOf(job)?.array as { shape?: unknown; chunks?: unknown } | undefined;
  const shape = array?.shape;
  const chunks = array?.chunks;
  if (Array.isArray(shape) && shape.length > 1 && (typeof chunks === 'number' || Array.isArray(chunks))) {
    const along = shape.map((n: number, axis) => {
      const c = Array.isArray(chunks) ? (chunks[axis] as unknown) : chunks;
      return typeof c === 'number' && c > 0 ? Math.ceil(n / c) : Array.isArray(c) ? c.length : 1;
    });
    if (along.reduce((a, b) => a * b, 1) === cells) return along[along.length - 1];
  }
  return Math.max(1, Math.ceil(Math.sqrt(cells * 2.5)));
}

interface Props {
  job: Job;
  /** list are the results of single chunks; empty when the items are something else. */
  list: Item[];
  version: number;
  op?: string;
}

/** ChunkGrid shows the chunks of an array: those that are done, in the color of their value. */
export function ChunkGrid({ job, list, version, op }: Props) {
  const total = Math.max(1, job.progress.total);
  const each = Math.ceil(total / maxCells); // chunks of a cell
  const cells = Math.ceil(total / each);
  const columns = columnsOf(job, cells);
  const rows = Math.ceil(cells / columns);
  const byIndex = useMemo(() => new Map(list.map((item) => [item.index, item])), [version, list]);
  const done = job.progress.completed;
  const height = Math.min(320, Math.max(28, rows * Math.min(22, 900 / columns)));
  const draw = useCallback(
    (c: CanvasRenderingContext2D, width: number, h: number) => {
      const palette = colors('heat-low', 'heat-middle', 'heat-high', 'empty', 'bad', 'accent');
      const stops = [palette['heat-low'], palette['heat-middle'], palette['heat-high']];
      let [low, high] = [Infinity, -Infinity];
      for (const item of list) {
        const v = number(item.value, op);
        if (Number.isFinite(v)) [low, high] = [Math.min(low, v), Math.max(high, v)];
      }
      const side = [Math.min(width / columns, 44), h / rows];
      const gap = side[0] > 5 && side[1] > 5 ? 1.5 : side[0] > 2.5 ? 0.5 : 0;
      for (let i = 0; i < cells; i++) {
        const item = byIndex.get(i);
        if (item && each === 1) {
          const v = number(item.value, op);
          c.fillStyle = item.error !== null ? palette.bad : Number.isFinite(v) && high > low ? ramp(stops, (v - low) / (high - low)) : palette.accent;
        } else c.fillStyle = byIndex.size === 0 && (i + 1) * each <= done ? palette.accent : palette.empty;
        c.fillRect((i % columns) * side[0], Math.floor(i / columns) * side[1], side[0] - gap, side[1] - gap);
      }
    },
    [version, list, op, done, cells, columns, rows],
  );
  return (
    <Canvas
      height={height}
      label={`${count(done)} of ${count(total)} chunks done`}
      draw={draw}
      at={(x, y, w, h) => {
        const column = Math.floor(x / Math.min(w / columns, 44));
        const i = Math.floor((y / h) * rows) * columns + column;
        if (column >= columns || i >= cells) return null;
        const item = byIndex.get(i);
        return `chunk ${count(i)}${item ? `: ${item.error ?? literal(item.value)}` : byIndex.size > 0 ? ': not done' : ''}`;
      }}
    />
  );
}

/** HeatMap shows a result with two axes. */
export function HeatMap({ list, shape, version, op }: { list: Item[]; shape: [number, number]; version: number; op?: string }) {
  const [rows, columns] = shape;
  const values = useMemo(() => {
    const all = new Float64Array(rows * columns).fill(NaN);
    for (const item of list) all[item.index] = number(item.value, op);
    return all;
  }, [version, list, op]);
  const [low, high] = useMemo(() => {
    const finite = values.filter(Number.isFinite);
    return [finite.reduce((a, b) => Math.min(a, b), Infinity), finite.reduce((a, b) => Math.max(a, b), -Infinity)];
  }, [values]);
  const draw = useCallback(
    (c: CanvasRenderingContext2D, width: number, h: number) => {
      const palette = colors('heat-low', 'heat-middle', 'heat-high', 'empty');
      const stops = [palette['heat-low'], palette['heat-middle'], palette['heat-high']];
      const [w, t] = [width / columns, h / rows];
      for (let i = 0; i < values.length; i++) {
        c.fillStyle = Number.isFinite(values[i]) ? ramp(stops, high > low ? (values[i] - low) / (high - low) : 0.5) : palette.empty;
        c.fillRect(Math.floor((i % columns) * w), Math.floor(Math.floor(i / columns) * t), Math.ceil(w), Math.ceil(t));
      }
    },
    [values],
  );
  return (
    <Canvas
      height={Math.min(360, Math.max(80, rows * 8))}
      label={`${rows} × ${columns} values from ${low} to ${high}`}
      draw={draw}
      at={(x, y, w, h) => {
        const [row, column] = [Math.floor((y / h) * rows), Math.floor((x / w) * columns)];
        return row < rows && column < columns ? `[${row}, ${column}] = ${values[row * columns + column]}` : null;
      }}
    />
  );
}
