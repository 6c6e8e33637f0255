import { useEffect, useReducer } from 'preact/hooks';

/** A Store is a value that components observe. */
export class Store<T> {
  private observers = new Set<() => void>();
  constructor(private value: T) {}

  get(): T {
    return this.value;
  }

  set(value: T): void {
    if (value === this.value) return;
    this.value = value;
    for (const notify of [...this.observers]) notify();
  }

  observe(notify: () => void): () => void {
    this.observers.add(notify);
    return () => this.observers.delete(notify);
  }
}

/** useStore returns the value of a store and renders again when it changes. */
export function useStore<T>(store: Store<T>): T {
  const [, render] = useReducer((n: number) => n + 1, 0);
  useEffect(() => store.observe(() => render(undefined)), [store]);
  return store.get();
}
