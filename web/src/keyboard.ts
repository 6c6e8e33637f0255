import { useEffect, useLayoutEffect } from 'preact/hooks';
import { go } from './route';

/** typing reports whether a key belongs to the element that has the focus, or to a dialog. */
export function typing(e: KeyboardEvent): boolean {
  const target = e.target as HTMLElement;
  return e.ctrlKey || e.metaKey || e.altKey || /^(INPUT|TEXTAREA|SELECT)$/.test(target.tagName) || document.querySelector('dialog[open]') !== null;
}

/** useKeys handles keys outside of fields while a component is shown, with what it shows at that moment. */
export function useKeys(handle: (key: string, e: KeyboardEvent) => void): void {
  useLayoutEffect(() => {
    const on = (e: KeyboardEvent) => {
      if (!typing(e)) handle(e.key, e);
    };
    addEventListener('keydown', on);
    return () => removeEventListener('keydown', on);
  });
}

/** useShortcuts handles the keys of all pages: g and a letter opens a page, ? shows the help. */
export function useShortcuts(pages: { path: string; key: string }[], help: () => void): void {
  useEffect(() => {
    let prefix = 0;
    const on = (e: KeyboardEvent) => {
      if (typing(e)) return;
      if (e.key === '?') help();
      if (e.key === 'g') {
        prefix = e.timeStamp;
        return;
      }
      const page = pages.find((p) => p.key === e.key);
      if (page && prefix > 0 && e.timeStamp - prefix < 1500) {
        e.stopImmediatePropagation();
        go(page.path);
      }
      prefix = 0;
    };
    addEventListener('keydown', on, true);
    return () => removeEventListener('keydown', on, true);
  }, []);
}
