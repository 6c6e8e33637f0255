import { useState } from 'preact/hooks';
import { apiKey, keyWanted } from './api';
import { Dialog } from './parts';

/** KeyDialog asks for the API key. */
export function KeyDialog({ reason }: { reason: string }) {
  const [key, setKey] = useState('');
  const use = (e: Event) => {
    e.preventDefault();
    keyWanted.set(null);
    apiKey.set(null); // so that the same key is tried again
    apiKey.set(key.trim());
  };
  return (
    <Dialog title="API key">
      <form onSubmit={use}>
        <p>This server needs an API key. The console keeps it in this tab until the tab is closed, and sends it to this server only.</p>
        {reason && (
          <p class="failure" role="alert">
            {reason}
          </p>
        )}
        <label class="field">
          <span>Key</span>
          <input type="password" autocomplete="off" spellcheck={false} placeholder="gather_…" required value={key} onInput={(e) => setKey(e.currentTarget.value)} />
        </label>
        <p class="buttons">
          <button type="submit" class="primary" disabled={key.trim() === ''}>
            Use this key
          </button>
        </p>
      </form>
    </Dialog>
  );
}
