import { useCallback, useEffect, useRef, useState } from 'preact/hooks';

export interface Polled<T> {
  data?: T;
  error?: unknown;
  /** refresh reads again now. */
  refresh: () => void;
}

/** usePoll reads a resource when key changes, and again after each interval in which the page is visible. */
export function usePoll<T>(read: (signal: AbortSignal) => Promise<T>, interval: number, key: string): Polled<T> {
  const [state, setState] = useState<{ key: string; data?: T; error?: unknown }>({ key });
  const [round, setRound] = useState(0);
  const latest = useRef(read);
  latest.current = read;
  useEffect(() => {
    const stop = new AbortController();
    let timer: ReturnType<typeof setTimeout> | undefined;
    const tick = async () => {
      if (document.visibilityState === 'visible') {
        try {
          const data = await latest.current(stop.signal);
          if (!stop.signal.aborted) setState({ key, data });
        } catch (error) {
          if (!stop.signal.aborted) setState((old) => ({ key, data: old.key === key ? old.data : undefined, error }));
        }
      }
      if (!stop.signal.aborted && interval > 0) timer = setTimeout(tick, interval);
    };
    void tick();
    return () => {
      stop.abort();
      clearTimeout(timer);
    };
  }, [key, interval, round]);
  const refresh = useCallback(() => setRound((n) => n + 1), []);
  return state.key === key ? { data: state.data, error: state.error, refresh } : { refresh };
}
