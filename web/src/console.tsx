import { render } from 'preact';
import { useEffect, useState } from 'preact/hooks';
import { apiKey, base, keyWanted, reachable } from './api';
import { Arrays } from './arrays';
import { GroupPage, Groups } from './groups';
import { JobPage } from './job';
import { Jobs } from './jobs';
import { KeyDialog } from './key';
import { useShortcuts } from './keyboard';
import { Nodes } from './nodes';
import { Overview } from './overview';
import { Dialog } from './parts';
import { href, useRoute } from './route';
import { samples, takeSamples } from './samples';
import { useStore } from './store';
import { Submit } from './submit';
import { type Theme, theme } from './theme';
import './style.css';

const pages = [
  { path: '', name: 'Overview', key: 'o' },
  { path: 'jobs', name: 'Jobs', key: 'j' },
  { path: 'groups', name: 'Groups', key: 'r' },
  { path: 'submit', name: 'Submit', key: 's' },
  { path: 'arrays', name: 'Arrays', key: 'a' },
  { path: 'nodes', name: 'Nodes', key: 'n' },
];

function Page() {
  const { path, query } = useRoute();
  switch (path[0] ?? '') {
    case '':
      return <Overview />;
    case 'jobs':
      return path[1] ? <JobPage key={path[1]} id={path[1]} /> : <Jobs query={query} />;
    case 'groups':
      return path[1] ? <GroupPage key={path[1]} id={path[1]} /> : <Groups />;
    case 'submit':
      return <Submit query={query} />;
    case 'arrays':
      return <Arrays />;
    case 'nodes':
      return <Nodes />;
  }
  return <p class="empty">There is no such page.</p>;
}

function ThemeSwitch() {
  const current = useStore(theme);
  return (
    <label class="theme">
      <span class="hidden">Theme</span>
      <select value={current} onChange={(e) => theme.set(e.currentTarget.value as Theme)}>
        <option value="auto">System theme</option>
        <option value="light">Light</option>
        <option value="dark">Dark</option>
      </select>
    </label>
  );
}

function Help({ onClose }: { onClose: () => void }) {
  const keys = [
    ...pages.map((p) => [`g ${p.key}`, p.name]),
    ['j k', 'next and previous row of a list'],
    ['Enter', 'open the row'],
    ['n p', 'next and previous page of a list'],
    ['/', 'filter by label'],
    ['?', 'this help'],
  ];
  return (
    <Dialog title="Keyboard" onClose={onClose}>
      <dl class="keys">
        {keys.map(([key, text]) => (
          <div key={key}>
            <dt>
              {key.split(' ').map((k) => (
                <kbd key={k}>{k}</kbd>
              ))}
            </dt>
            <dd>{text}</dd>
          </div>
        ))}
      </dl>
      <p class="buttons">
        <button type="button" onClick={onClose}>
          Close
        </button>
      </p>
    </Dialog>
  );
}

function Console() {
  const { path } = useRoute();
  const key = useStore(apiKey);
  const wanted = useStore(keyWanted);
  const online = useStore(reachable);
  const unfinished = useStore(samples).at(-1)?.stats.jobs;
  const [help, setHelp] = useState(false);
  useEffect(takeSamples, [key]);
  useShortcuts(pages, () => setHelp(true));
  const page = pages.find((p) => p.path === (path[0] ?? ''))?.name;
  useEffect(() => {
    document.title = page ? `${page} · gather` : 'gather';
  }, [page]);
  return (
    <>
      <a
        class="skip"
        href="#main"
        onClick={(e) => {
          e.preventDefault();
          document.querySelector('main')?.focus();
        }}
      >
        Skip to the page
      </a>
      <aside>
        <a class="logo" href={href('')} aria-label="gather, overview">
          <img src="icon.svg" alt="" width="24" height="24" /> gather
        </a>
        <nav aria-label="Pages">
          {pages.map((p) => (
            <a key={p.path} href={href(p.path)} aria-current={p.name === page ? 'page' : undefined}>
              {p.name}
              {p.path === 'jobs' && unfinished && unfinished.queued + unfinished.running > 0 && <span class="count">{unfinished.queued + unfinished.running}</span>}
            </a>
          ))}
        </nav>
        <footer>
          <a href={new URL('docs', base).href}>API</a>
          <button type="button" class="plain" onClick={() => setHelp(true)}>
            Keyboard
          </button>
          {key && (
            <button type="button" class="plain" onClick={() => apiKey.set(null)}>
              Forget the key
            </button>
          )}
          <ThemeSwitch />
        </footer>
      </aside>
      <main id="main" tabIndex={-1}>
        <div role="status" class="banner" hidden={online}>
          {online ? '' : 'The server does not respond. The console tries again.'}
        </div>
        <Page key={key} />
      </main>
      {help && <Help onClose={() => setHelp(false)} />}
      {wanted !== null && <KeyDialog reason={wanted} />}
    </>
  );
}

const root = document.getElementById('app');
if (root) render(<Console />, root);
