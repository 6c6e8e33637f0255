import { useState } from 'preact/hooks';
import { apiKey, type ArrayList, base, get, keyWanted, message, type Problem, request, type StoredArray } from './api';
import { ago, bytes, instant } from './format';
import { setDraft } from './memory';
import { Copy, Dialog, Fact, Failure, Pager, Panel, save } from './parts';
import { usePoll } from './poll';
import { href } from './route';

/** Arrays lists stored arrays and uploads new ones. */
export function Arrays() {
  const [trail, setTrail] = useState<string[]>([]);
  const [shown, setShown] = useState<StoredArray>();
  const after = trail.at(-1) ?? '';
  const { data, error, refresh } = usePoll((signal) => get<ArrayList>(`v1/arrays?page_size=50${after && `&after=${encodeURIComponent(after)}`}`, { signal }), 5000, `arrays ${after}`);
  return (
    <>
      <h1>Arrays</h1>
      <Upload onDone={refresh} />
      <Failure error={error} />
      <div class="panel flush">
        {data?.arrays.length === 0 ? (
          <p class="empty">No stored arrays.</p>
        ) : (
          <table>
            <thead>
              <tr>
                <th scope="col">Name</th>
                <th scope="col">Type</th>
                <th scope="col">Shape</th>
                <th scope="col" class="num">
                  Size
                </th>
                <th scope="col" class="num wide">
                  Stored
                </th>
                <th scope="col">State</th>
              </tr>
            </thead>
            <tbody>
              {data?.arrays.map((a) => (
                <tr key={a.name}>
                  <td>
                    <button type="button" class="link" onClick={() => setShown(a)}>
                      {a.name}
                    </button>
                  </td>
                  <td>{a.dtype}</td>
                  <td class="mono">{a.shape.join(' × ') || 'scalar'}</td>
                  <td class="num">{bytes(a.bytes)}</td>
                  <td class="num wide" title={instant(a.created_at)}>
                    {ago(a.created_at)}
                  </td>
                  <td>{a.state === 'damaged' ? <b class="bad">damaged</b> : a.in_use ? 'in use' : 'ready'}</td>
                </tr>
              ))}
            </tbody>
          </table>
        )}
        {data?.unreadable?.map((name) => (
          <p class="failure" key={name}>
            The record of {name} is damaged.
          </p>
        ))}
      </div>
      <Pager trail={trail} next={data?.next_after} onTurn={setTrail} />
      {shown && (
        <Detail
          array={shown}
          onClose={() => {
            setShown(undefined);
            refresh();
          }}
        />
      )}
    </>
  );
}

function Detail({ array, onClose }: { array: StoredArray; onClose: () => void }) {
  const [error, setError] = useState<unknown>();
  const path = `v1/arrays/${encodeURIComponent(array.name)}`;
  const act = (f: () => Promise<void>) => () => {
    setError(undefined);
    f().catch(setError);
  };
  return (
    <Dialog title={array.name} onClose={onClose}>
      <dl class="facts">
        <Fact term="Type">{array.dtype}</Fact>
        <Fact term="Shape">{array.shape.join(' × ') || 'scalar'}</Fact>
        <Fact term="Order">{array.order}</Fact>
        <Fact term="Bytes">{bytes(array.bytes)}</Fact>
        <Fact term="Stored">{instant(array.created_at)}</Fact>
        <Fact term="SHA-256">
          <span class="id">{array.sha256.slice(0, 16)}…</span> <Copy text={array.sha256}>Copy</Copy>
        </Fact>
      </dl>
      <Failure error={error} />
      <p class="buttons">
        <button type="button" onClick={onClose}>
          Close
        </button>
        <button type="button" class="danger" onClick={act(async () => void (await request('DELETE', path), onClose()))}>
          Delete
        </button>
        <button
          type="button"
          onClick={act(async () => {
            const response = await request('GET', path, { headers: { Accept: 'application/x-npy' } });
            save(await response.blob(), `${array.name}.npy`);
          })}
        >
          Download
        </button>
        <a class="button primary" href={href('submit')} onClick={() => setDraft({ kind: 'array_sum', array: { source: 'npy', name: array.name } })}>
          Sum
        </a>
      </p>
    </Dialog>
  );
}

interface Transfer {
  name: string;
  share: number;
  error?: string;
  done?: boolean;
}

/** nameOf returns the name of an array for a file. */
const nameOf = (file: string) => file.replace(/\.npy$/, '').replace(/[^A-Za-z0-9._-]+/g, '-').replace(/^\.+/, '').slice(0, 128) || 'array';

function Upload({ onDone }: { onDone: () => void }) {
  const [over, setOver] = useState(false);
  const [transfers, setTransfers] = useState<Transfer[]>([]);
  const start = (files: Iterable<File>) => {
    for (const file of files) {
      const name = nameOf(file.name);
      const change = (t: Partial<Transfer>) => setTransfers((old) => [...old.filter((x) => x.name !== name), { name, share: 0, ...t }]);
      change({});
      put(name, file, (share) => change({ share })).then(
        () => {
          change({ share: 1, done: true });
          onDone();
        },
        (e) => change({ error: message(e) }),
      );
    }
  };
  return (
    <Panel title="Upload">
      <label
        class={`drop ${over ? 'over' : ''}`}
        onDragOver={(e) => {
          e.preventDefault();
          setOver(true);
        }}
        onDragLeave={() => setOver(false)}
        onDrop={(e) => {
          e.preventDefault();
          setOver(false);
          start(e.dataTransfer?.files ?? []);
        }}
      >
        <input type="file" accept=".npy" multiple onChange={(e) => start(e.currentTarget.files ?? [])} />
        <span>
          Drop <code>.npy</code> files here, or choose them
        </span>
      </label>
      {transfers.map((t) => (
        <div class="meter" key={t.name} role="status">
          <span>{t.name}</span>
          <span class="num">{t.error ? <b class="bad">{t.error}</b> : t.done ? 'stored' : `${Math.floor(t.share * 100)} %`}</span>
          <progress class={t.error ? 'bad' : ''} max={1} value={t.share} aria-label={`Upload of ${t.name}`} />
        </div>
      ))}
    </Panel>
  );
}

/** put uploads a file. fetch does not report the progress of a body. */
function put(name: string, file: File, progress: (share: number) => void): Promise<void> {
  return new Promise((resolve, reject) => {
    const x = new XMLHttpRequest();
    x.open('PUT', new URL(`v1/arrays/${encodeURIComponent(name)}`, base));
    x.setRequestHeader('Content-Type', 'application/x-npy');
    const key = apiKey.get();
    if (key) x.setRequestHeader('Authorization', `Bearer ${key}`);
    x.upload.onprogress = (e) => progress(e.loaded / Math.max(1, e.total));
    x.onerror = () => reject(new TypeError('The server does not respond.'));
    x.onload = () => {
      if (x.status < 300) {
        resolve();
        return;
      }
      if (x.status === 401) keyWanted.set('');
      let problem: Problem;
      try {
        problem = JSON.parse(x.responseText) as Problem;
      } catch {
        problem = { type: 'about:blank', title: x.statusText, status: x.status, request_id: '' };
      }
      reject(problem.detail ?? problem.title);
    };
    x.send(file);
  });
}
