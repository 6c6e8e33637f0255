import type { ComponentChildren } from 'preact';
import { useLayoutEffect, useRef, useState } from 'preact/hooks';

/** maxHeight is the height up to which browsers position exactly; longer lists are scrolled in proportion. */
const maxHeight = 8_000_000;
const rowHeight = 30;
const extra = 8;

interface Props {
  count: number;
  label: string;
  head: ComponentChildren;
  /** row renders one row; range reports which rows are shown. */
  row: (i: number) => ComponentChildren;
  range?: (from: number, to: number) => void;
}

/** VirtualTable is a table of which only the visible rows exist. */
export function VirtualTable({ count, label, head, row, range }: Props) {
  const view = useRef<HTMLDivElement>(null);
  const [top, setTop] = useState(0);
  const [height, setHeight] = useState(420);
  useLayoutEffect(() => {
    const element = view.current;
    if (!element) return;
    const resize = new ResizeObserver(() => setHeight(element.clientHeight));
    resize.observe(element);
    return () => resize.disconnect();
  }, []);
  const full = count * rowHeight;
  const shown = Math.min(full, maxHeight);
  const visible = Math.ceil(height / rowHeight);
  // Where the list is too long to be as high as it is, the scroll bar selects a share of it.
  const share = shown > height ? Math.min(1, top / (shown - height)) : 0;
  const first = full > maxHeight ? Math.floor(share * (count - visible + 1)) : Math.floor(top / rowHeight);
  const from = Math.max(0, Math.min(first - extra, count - visible - 2 * extra));
  const to = Math.min(count, first + visible + extra);
  const offset = full > maxHeight ? top - (first - from) * rowHeight : from * rowHeight;
  useLayoutEffect(() => range?.(from, to), [from, to, count]);
  const rows = [];
  for (let i = from; i < to; i++)
    rows.push(
      <div role="row" class="row" key={i} aria-rowindex={i + 2}>
        {row(i)}
      </div>,
    );
  return (
    <div role="table" class="virtual" aria-label={label} aria-rowcount={count + 1}>
      <div role="rowgroup">
        <div role="row" class="row head" aria-rowindex={1}>
          {head}
        </div>
      </div>
      <div class="view" ref={view} tabIndex={0} role="rowgroup" aria-label={`${label}, rows`} style={{ height: `${Math.min(420, shown)}px` }} onScroll={(e) => setTop(e.currentTarget.scrollTop)}>
        <div class="sheet" role="presentation" style={{ height: `${shown}px` }}>
          <div role="presentation" style={{ transform: `translateY(${Math.max(0, offset)}px)` }}>
            {rows}
          </div>
        </div>
      </div>
    </div>
  );
}
