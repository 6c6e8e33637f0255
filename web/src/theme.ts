import { Store } from './store';

export type Theme = 'auto' | 'light' | 'dark';

/** theme is the choice of the reader; auto follows the system. */
export const theme = new Store<Theme>((localStorage.getItem('gather-theme') as Theme | null) ?? 'auto');

const apply = () => {
  document.documentElement.dataset.theme = theme.get();
  localStorage.setItem('gather-theme', theme.get());
};
theme.observe(apply);
apply();

/** paints counts the changes of the colors, after which canvases have to be drawn again. */
export const paints = new Store(0);
const repaint = () => paints.set(paints.get() + 1);
theme.observe(repaint);
matchMedia('(prefers-color-scheme: dark)').addEventListener('change', repaint);

/** still is true for readers who want no motion. */
export const still = () => matchMedia('(prefers-reduced-motion: reduce)').matches;

/** colors returns the values of custom properties as colors that a canvas understands. */
export function colors<Name extends string>(...names: Name[]): Record<Name, string> {
  const probe = document.createElement('span');
  probe.hidden = true;
  document.body.append(probe);
  const values = {} as Record<Name, string>;
  for (const name of names) {
    probe.style.color = `var(--${name})`;
    values[name] = getComputedStyle(probe).color;
  }
  probe.remove();
  return values;
}
