import { type Item, type Job, jobPath, request, type Results } from './api';
import { lines } from './stream';

/** maxHeld is the number of results up to which the console keeps all of a job's results, and draws each of them. */
export const maxHeld = 20_000;

/** Items are results in the order in which they completed. */
export class Items {
  readonly list: Item[] = [];
  /** failed are the positions of failed items in list. */
  readonly failed: number[] = [];
  private last = 0;

  /** add appends a result, unless the stream has repeated it. */
  add(item: Item): void {
    if (item.seq <= this.last) return;
    this.last = item.seq;
    if (item.error !== null) this.failed.push(this.list.length);
    this.list.push(item);
  }
}

/** expected returns how many results a job has, or will have if all goes well. */
export function expected(job: Job): number {
  const shape = resultShape(job);
  if (shape && shape.length > 0) return shape.reduce((a, b) => a * b, 1);
  return job.progress.total;
}

/** resultShape returns the shape of the result of an array kind; undefined before it is known. */
export function resultShape(job: Job): number[] | undefined {
  const shape = (job.details as { shape?: unknown } | null)?.shape;
  return Array.isArray(shape) ? (shape as number[]) : undefined;
}

/** readAll adds all results of a job. */
export async function readAll(job: Job, items: Items, signal: AbortSignal): Promise<void> {
  const response = await request('GET', jobPath(job.id, '/results'), { headers: { Accept: 'application/x-ndjson' }, signal });
  for await (const line of lines(response)) if ('index' in (line as object)) items.add(line as Item);
}

/** findFailed returns the first failed items of a job with many results. */
export async function findFailed(job: Job, most: number, signal: AbortSignal): Promise<Item[]> {
  const found: Item[] = [];
  const response = await request('GET', jobPath(job.id, '/results'), { headers: { Accept: 'application/x-ndjson' }, signal });
  for await (const line of lines(response)) {
    const item = line as Item;
    if ('index' in item && item.error !== null) found.push(item);
    if (found.length >= Math.min(most, job.progress.failed)) break;
  }
  return found;
}

/** page returns results after a cursor. */
export async function page(id: string, order: 'completed' | 'index', after: number, limit: number, signal: AbortSignal): Promise<Item[]> {
  const response = await request('GET', jobPath(id, '/results', { order, after, limit }), { signal });
  return ((await response.json()) as Results).items;
}

/** sampleItems returns results from all over a finished job. */
export async function sampleItems(job: Job, signal: AbortSignal): Promise<Item[]> {
  const pages = 20;
  const each = 50;
  const n = expected(job);
  const lists = await Promise.all(Array.from({ length: pages }, (_, i) => page(job.id, 'index', Math.floor((i * (n - each)) / (pages - 1)) - 1, each, signal)));
  return lists.flat();
}
