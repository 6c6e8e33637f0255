import type { ComponentChildren } from 'preact';
import { useEffect, useRef, useState } from 'preact/hooks';
import { type Job, message, type State } from './api';
import { count } from './format';

const glyphs: Record<State, string> = {
  queued: '○',
  running: '◐',
  cancelling: '◌',
  succeeded: '✓',
  failed: '✕',
  cancelled: '–',
};

/** Badge shows a state by color, sign and word. */
export function Badge({ state }: { state: State }) {
  return (
    <span class={`badge ${state}`}>
      <span aria-hidden="true">{glyphs[state]}</span> {state}
    </span>
  );
}

/** Progress is a bar of the finished share of a job, or of the jobs of a group. */
export function Progress({ progress, state }: { progress: Job['progress']; state: State }) {
  const percent = Math.floor(progress.fraction * 100);
  return (
    <span class="progress">
      <progress class={state} max={1} value={progress.fraction} aria-label={`Progress: ${percent} percent`} />
      <span class="num">{percent} %</span>
    </span>
  );
}

/** Labels shows the labels of a job. */
export function Labels({ labels }: { labels: Job['labels'] }) {
  return (
    <>
      {Object.entries(labels).map(([name, value]) => (
        <span class="label" key={name}>
          {name}:{value}
        </span>
      ))}
    </>
  );
}

/** Failure shows an error. */
export function Failure({ error }: { error: unknown }) {
  if (error === undefined || error === null) return null;
  return (
    <p class="failure" role="alert">
      {message(error)}
    </p>
  );
}

/** Panel is a titled part of a page. */
export function Panel({ title, tools, children, class: name }: { title: string; tools?: ComponentChildren; children: ComponentChildren; class?: string }) {
  return (
    <section class={`panel ${name ?? ''}`} aria-label={title}>
      <header>
        <h2>{title}</h2>
        {tools && <div class="tools">{tools}</div>}
      </header>
      {children}
    </section>
  );
}

/** Pager turns the pages of a list. trail has the names after which the pages up to the current one begin, next that of the next page. */
export function Pager({ trail, next, onTurn }: { trail: string[]; next?: string | null; onTurn: (trail: string[]) => void }) {
  if (trail.length === 0 && !next) return null;
  return (
    <div class="pager">
      <span class="spring" />
      <button type="button" disabled={trail.length === 0} onClick={() => onTurn(trail.slice(0, -1))}>
        Previous
      </button>
      <button type="button" disabled={!next} onClick={() => next && onTurn([...trail, next])}>
        Next
      </button>
    </div>
  );
}

/** Fact is a term with its value. */
export function Fact({ term, children }: { term: ComponentChildren; children: ComponentChildren }) {
  return (
    <div>
      <dt>{term}</dt>
      <dd>{children}</dd>
    </div>
  );
}

/** Meter shows how much of a bound is used. */
export function Meter({ name, used, limit, format = count }: { name: string; used: number; limit: number; format?: (n: number) => string }) {
  const share = limit > 0 ? used / limit : 0;
  const level = share >= 0.9 ? 'bad' : share >= 0.7 ? 'warn' : '';
  return (
    <div class="meter">
      <span>{name}</span>
      <span class="num">
        {format(used)} of {format(limit)}
        <b class={level}> {share > 0 && share < 0.01 ? '<1' : Math.floor(share * 100)} %</b>
      </span>
      <progress class={level} max={1} value={Math.min(1, share)} aria-label={`${name}: ${format(used)} of ${format(limit)}`} />
    </div>
  );
}

/** Dialog is a modal dialog; it is open as long as it is rendered. */
export function Dialog({ title, onClose, children }: { title: string; onClose?: () => void; children: ComponentChildren }) {
  const ref = useRef<HTMLDialogElement>(null);
  useEffect(() => {
    const dialog = ref.current;
    if (dialog && !dialog.open) dialog.showModal();
  }, []);
  return (
    <dialog
      ref={ref}
      aria-label={title}
      onCancel={(e) => {
        e.preventDefault();
        onClose?.();
      }}
    >
      <h2>{title}</h2>
      {children}
    </dialog>
  );
}

/** Copy is a button that copies a text. */
export function Copy({ text, children }: { text: string; children: ComponentChildren }) {
  const [copied, setCopied] = useState(false);
  const copy = async () => {
    await writeClipboard(text);
    setCopied(true);
    setTimeout(() => setCopied(false), 1500);
  };
  return (
    <button type="button" onClick={copy}>
      {copied ? 'Copied' : children}
    </button>
  );
}

/** writeClipboard copies a text, also where the clipboard is restricted to secure origins. */
async function writeClipboard(text: string): Promise<void> {
  if (navigator.clipboard) return navigator.clipboard.writeText(text);
  const area = document.createElement('textarea');
  area.value = text;
  document.body.append(area);
  area.select();
  document.execCommand('copy');
  area.remove();
}

/** save downloads data under a name. */
export function save(data: Blob, name: string): void {
  const link = document.createElement('a');
  link.href = URL.createObjectURL(data);
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
}
