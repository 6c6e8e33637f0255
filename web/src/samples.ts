import { get, type Stats } from './api';
import { Store } from './store';

/** A Sample is the state of the service at one time, with the rates since the sample before. */
export interface Sample {
  stats: Stats;
  /** at is the time of the server, in seconds. */
  at: number;
  accepted: number | null;
  finished: number | null;
  failed: number | null;
}

const interval = 2000;
/** window is how many samples are kept: five minutes. */
const window = 150;

/** samples are the last samples, oldest first. */
export const samples = new Store<Sample[]>([]);

const ended = (s: Stats) => s.totals.succeeded + s.totals.failed + s.totals.cancelled;

function sample(stats: Stats, before: Sample[]): Sample {
  const at = Date.parse(stats.at) / 1000;
  // Nodes of a cluster count from different times, so a rate is of one node.
  const last = before.findLast((s) => s.stats.node === stats.node && s.stats.since === stats.since && s.at < at);
  const rate = (of: (s: Stats) => number) => (last ? Math.max(0, of(stats) - of(last.stats)) / (at - last.at) : null);
  return { stats, at, accepted: rate((s) => s.totals.accepted), finished: rate(ended), failed: rate((s) => s.totals.failed) };
}

/** takeSamples reads the state of the service until stop is called. */
export function takeSamples(): () => void {
  let timer: ReturnType<typeof setTimeout>;
  let stopped = false;
  const tick = async () => {
    if (document.visibilityState === 'visible') {
      try {
        const stats = await get<Stats>('v1/stats');
        if (!stopped) samples.set([...samples.get(), sample(stats, samples.get())].slice(-window));
      } catch {
        // reachable and keyWanted have the reason.
      }
    }
    if (!stopped) timer = setTimeout(tick, interval);
  };
  void tick();
  return () => {
    stopped = true;
    clearTimeout(timer);
    samples.set([]);
  };
}
