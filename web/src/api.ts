import type { components } from './schema';
import { Store } from './store';

type Schemas = components['schemas'];
export type Job = Schemas['Job'];
export type JobList = Schemas['JobList'];
export type JobCounts = Schemas['JobCounts'];
export type Group = Schemas['Group'];
export type GroupList = Schemas['GroupList'];
export type BulkResult = Schemas['BulkResult'];
export type State = Schemas['State'];
export type Priority = Schemas['Priority'];
export type Delivery = Schemas['Delivery'];
export type Item = Schemas['Item'];
export type Results = Schemas['Results'];
export type Kind = Schemas['Kind'];
export type Node = Schemas['Node'];
export type Stats = Schemas['Stats'];
export type StoredArray = Schemas['StoredArray'];
export type ArrayList = Schemas['ArrayList'];
export type Problem = Schemas['Problem'];
export type ProblemError = Schemas['ProblemError'];
export type Preview = Schemas['SubmissionPreview'];
export type Submission = { kind: string } & Record<string, unknown>;

/** base is the URL of the service; a proxy may have put it below a prefix. */
export const base = new URL('../', document.baseURI);

/** apiKey is the key of this tab. It is kept in sessionStorage and sent in a header only. */
export const apiKey = new Store(sessionStorage.getItem('gather-api-key'));
apiKey.observe(() => {
  const key = apiKey.get();
  if (key) sessionStorage.setItem('gather-api-key', key);
  else sessionStorage.removeItem('gather-api-key');
});

/** keyWanted is the reason for which the console has to ask for a key; null when it need not. */
export const keyWanted = new Store<string | null>(null);

/** reachable is false while the server does not respond. */
export const reachable = new Store(true);

/** An ApiError is an error response of the service. */
export class ApiError extends Error {
  constructor(readonly status: number, readonly problem: Problem) {
    super(problem.detail ?? problem.title);
  }
}

interface Options {
  body?: unknown;
  headers?: Record<string, string>;
  signal?: AbortSignal;
}

/** request sends a request and returns a successful response, also 304. It throws an ApiError or, if the server does not respond, a TypeError. */
export async function request(method: string, path: string, options: Options = {}): Promise<Response> {
  const headers = new Headers(options.headers);
  const key = apiKey.get();
  if (key) headers.set('Authorization', `Bearer ${key}`);
  let body: BodyInit | undefined;
  if (typeof options.body === 'string') {
    body = options.body;
    if (!headers.has('Content-Type')) headers.set('Content-Type', 'application/json');
  }
  let response: Response;
  try {
    response = await fetch(new URL(path, base), { method, headers, body, signal: options.signal, cache: 'no-store' });
  } catch (error) {
    if (!options.signal?.aborted) reachable.set(false);
    throw error;
  }
  reachable.set(true);
  if (response.ok || response.status === 304) return response;
  const problem = (await response.json().catch(() => ({ title: response.statusText, status: response.status }))) as Problem;
  if (response.status === 401) keyWanted.set(key ? (problem.detail ?? problem.title) : '');
  throw new ApiError(response.status, problem);
}

/** get returns the JSON of a resource. */
export async function get<T>(path: string, options?: Options): Promise<T> {
  return (await request('GET', path, options)).json() as Promise<T>;
}

/** post sends JSON and returns the JSON of the response. */
export async function post<T>(path: string, body?: unknown, headers?: Record<string, string>, signal?: AbortSignal): Promise<T> {
  const text = body === undefined ? undefined : typeof body === 'string' ? body : JSON.stringify(body);
  return (await request('POST', path, { body: text, headers, signal })).json() as Promise<T>;
}

/** jobPath returns the path of a job, or of a resource below it. Integers are strings, which keep all of their digits. */
export function jobPath(id: string, tail = '', query: Record<string, string | number> = {}): string {
  const params = new URLSearchParams({ int_encoding: 'string' });
  for (const [name, value] of Object.entries(query)) params.set(name, String(value));
  return `v1/jobs/${encodeURIComponent(id)}${tail}?${params}`;
}

/** isTerminal reports whether a job has ended. */
export function isTerminal(state: State): boolean {
  return state === 'succeeded' || state === 'failed' || state === 'cancelled';
}

/** randomKey returns an Idempotency-Key. crypto.randomUUID exists only on secure origins. */
export function randomKey(): string {
  return [...crypto.getRandomValues(new Uint8Array(16))].map((b) => b.toString(16).padStart(2, '0')).join('');
}

/** message returns the text of an error for people. */
export function message(error: unknown): string {
  if (error instanceof ApiError) {
    const faults = error.problem.errors?.map((e) => `${e.pointer ?? e.parameter ?? e.header ?? ''} ${e.detail}`.trim());
    return [error.message, ...(faults ?? [])].join('\n');
  }
  if (error instanceof TypeError) return 'The server does not respond.';
  return String(error);
}
