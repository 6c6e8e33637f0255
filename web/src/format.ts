const whole = new Intl.NumberFormat('en-US');
const dateTime = new Intl.DateTimeFormat(undefined, { dateStyle: 'medium', timeStyle: 'medium' });

/** count formats an integer with separators. */
export const count = (n: number): string => whole.format(n);

/** short formats a number in at most five characters, such as 12.3k. */
export function short(n: number): string {
  const abs = Math.abs(n);
  if (abs < 1000) return abs >= 100 || Number.isInteger(n) ? String(Math.round(n)) : abs >= 10 ? n.toFixed(1) : n.toFixed(2).replace(/\.?0+$/, '') || '0';
  if (abs >= 1e15) return n.toPrecision(2);
  const units = ['k', 'M', 'G', 'T'];
  let unit = -1;
  let rest = n;
  while (Math.abs(rest) >= 1000 && unit < units.length - 1) {
    rest /= 1000;
    unit++;
  }
  return (Math.abs(rest) >= 100 ? rest.toFixed(0) : Math.abs(rest) >= 10 ? rest.toFixed(1) : rest.toFixed(2)).replace(/\.0+$/, '') + units[unit];
}

/** bytes formats a size in binary units. */
export function bytes(n: number): string {
  const units = ['B', 'KiB', 'MiB', 'GiB', 'TiB'];
  let unit = 0;
  while (n >= 1024 && unit < units.length - 1) {
    n /= 1024;
    unit++;
  }
  return `${unit === 0 || n >= 100 ? n.toFixed(0) : n.toFixed(1)} ${units[unit]}`;
}

/** span formats a duration in seconds. */
export function span(seconds: number): string {
  if (!Number.isFinite(seconds)) return '–';
  if (seconds === 0) return '<1 ms'; // of two instants that a browser reads in milliseconds
  if (seconds < 0.001) return `${Math.max(0, seconds * 1e6).toFixed(0)} µs`;
  if (seconds < 1) return `${(seconds * 1000).toFixed(seconds < 0.01 ? 1 : 0)} ms`;
  if (seconds < 10) return `${seconds.toFixed(2)} s`;
  if (seconds < 60) return `${seconds.toFixed(1)} s`;
  const s = Math.round(seconds);
  if (s < 3600) return `${Math.floor(s / 60)} m ${s % 60} s`;
  if (s < 86400) return `${Math.floor(s / 3600)} h ${Math.floor((s % 3600) / 60)} m`;
  return `${Math.floor(s / 86400)} d ${Math.floor((s % 86400) / 3600)} h`;
}

/** ago formats how long ago, or in how long, an instant is. */
export function ago(at: string, now = Date.now()): string {
  const seconds = (now - Date.parse(at)) / 1000;
  const text = Math.abs(seconds) < 60 ? `${Math.abs(Math.round(seconds))} s` : span(Math.abs(seconds)).replace(/ (\d+) s$/, '');
  if (Math.abs(seconds) < 1) return 'now';
  return seconds < 0 ? `in ${text}` : `${text} ago`;
}

/** instant formats a time in the reader's time zone. */
export const instant = (at: string): string => dateTime.format(new Date(at));

/** toLocalTime returns an instant as the value of an input for a date and time, which is in the reader's time zone. */
export function toLocalTime(at: string | null): string {
  const date = new Date(at ?? NaN);
  if (Number.isNaN(date.getTime())) return '';
  return new Date(date.getTime() - date.getTimezoneOffset() * 60_000).toISOString().slice(0, 16);
}

/** fromLocalTime is the inverse of toLocalTime; it returns '' for no time. */
export function fromLocalTime(value: string): string {
  const date = new Date(value);
  return Number.isNaN(date.getTime()) ? '' : date.toISOString();
}

/** between returns the seconds from one instant to another, or to now. */
export function between(from: string | null, to: string | null): number {
  return from ? ((to ? Date.parse(to) : Date.now()) - Date.parse(from)) / 1000 : NaN;
}

/** shortID returns the random end of a UUIDv7, whose beginning is a time. */
export const shortID = (id: string): string => id.slice(-12);

/** literal formats a JSON value in one line. */
export function literal(value: unknown): string {
  if (typeof value === 'string') return value;
  return value === undefined ? '' : JSON.stringify(value);
}
