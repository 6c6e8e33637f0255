import { Store, useStore } from './store';

/** A Route is the part of the address after #: a path, and a query that keeps the state of a page. */
export interface Route {
  path: string[];
  query: URLSearchParams;
}

const current = new Store(location.hash);
addEventListener('hashchange', () => current.set(location.hash));

/** useRoute returns the current route. */
export function useRoute(): Route {
  const [path, query] = useStore(current).replace(/^#\/?/, '').split('?');
  return { path: path.split('/').filter(Boolean).map(decodeURIComponent), query: new URLSearchParams(query) };
}

/** href returns the address of a route. */
export function href(path: string, query?: URLSearchParams): string {
  const text = query?.toString();
  return `#/${path}${text ? `?${text}` : ''}`;
}

/** go changes the route; replace leaves no entry in the history. */
export function go(path: string, query?: URLSearchParams, replace = false): void {
  if (replace) {
    history.replaceState(null, '', href(path, query));
    current.set(location.hash);
    return;
  }
  location.hash = href(path, query);
}
