import { useEffect, useMemo, useRef, useState } from 'preact/hooks';
import { ApiError, type ArrayList, get, type Job, type Kind, message, post, type Preview, type ProblemError, randomKey, type Submission } from './api';
import { curlOfSubmission } from './curl';
import { bytes, count } from './format';
import { Fields } from './form';
import { takeDraft } from './memory';
import { Copy, Failure, Panel } from './parts';
import { usePoll } from './poll';
import { go } from './route';
import { formsOf, type Schema } from './schema-form';

type Examples = Record<string, Submission>;

/** readExamples returns an example of each kind from the API's description. */
async function readExamples(): Promise<Examples> {
  const spec = await get<any>('openapi.json');
  const examples = spec.paths['/v1/jobs'].post.requestBody.content['application/json'].examples as Record<string, { value: Submission }>;
  return Object.fromEntries(Object.values(examples).map((e) => [e.value.kind, e.value]));
}

/** Submit is the form of a new job. */
export function Submit({ query }: { query: URLSearchParams }) {
  const [draft] = useState(takeDraft);
  const [kinds, setKinds] = useState<Kind[]>();
  const [examples, setExamples] = useState<Examples>({});
  const [error, setError] = useState<unknown>();
  useEffect(() => {
    Promise.all([get<{ kinds: Kind[] }>('v1/kinds'), readExamples().catch(() => ({}))])
      .then(([list, found]) => {
        setExamples(found);
        setKinds(list.kinds);
      })
      .catch(setError);
  }, []);
  if (!kinds)
    return (
      <>
        <h1>Submit a job</h1>
        {error ? <Failure error={error} /> : <p class="empty">Reading the kinds …</p>}
      </>
    );
  return <Editor kinds={kinds} examples={examples} start={draft ?? examples[query.get('kind') ?? ''] ?? examples.squares ?? { kind: kinds[0].name }} />;
}

interface Check {
  preview?: Preview;
  errors: ProblemError[];
  detail?: string;
}

/** useCheck asks the service what a submission would be, shortly after it has changed. */
function useCheck(submission: Submission): Check {
  const [check, setCheck] = useState<Check>({ errors: [] });
  const body = JSON.stringify(submission);
  useEffect(() => {
    let latest = true;
    const timer = setTimeout(() => {
      post<Preview>('v1/jobs?validate_only=true', body).then(
        (preview) => latest && setCheck({ preview, errors: [] }),
        (e) => latest && setCheck(e instanceof ApiError ? { errors: e.problem.errors ?? [], detail: e.message } : { errors: [], detail: message(e) }),
      );
    }, 300);
    return () => {
      latest = false;
      clearTimeout(timer);
    };
  }, [body]);
  return check;
}

function Editor({ kinds, examples, start }: { kinds: Kind[]; examples: Examples; start: Submission }) {
  const [submission, setSubmission] = useState(start);
  const [json, setJSON] = useState<string | null>(null); // the text while it is edited as JSON
  const [invalid, setInvalid] = useState('');
  const [error, setError] = useState<unknown>();
  const [sending, setSending] = useState(false);
  const [round, setRound] = useState(0);
  const attempt = useRef({ body: '', key: '' });
  const arrays = usePoll((signal) => get<ArrayList>('v1/arrays?page_size=200', { signal }), 0, 'arrays');
  const check = useCheck(submission);
  const kind = kinds.find((k) => k.name === submission.kind);
  const forms = useMemo(() => kind && formsOf(kind.schema as Schema), [kind]);

  const load = (next: Submission) => {
    setSubmission(next);
    setRound((n) => n + 1);
    setJSON((text) => (text === null ? null : JSON.stringify(next, null, 2)));
    setInvalid('');
  };
  const edit = (text: string) => {
    setJSON(text);
    try {
      setSubmission(JSON.parse(text) as Submission);
      setInvalid('');
    } catch (e) {
      setInvalid(String(e));
    }
  };
  const submit = async (e: Event) => {
    e.preventDefault();
    setSending(true);
    setError(undefined);
    const body = JSON.stringify(submission);
    // The same submission is sent again with the same key, so that a lost response makes no second job.
    if (attempt.current.body !== body) attempt.current = { body, key: randomKey() };
    try {
      const job = await post<Job>('v1/jobs?int_encoding=string', body, { 'Idempotency-Key': attempt.current.key });
      attempt.current = { body: '', key: '' };
      go(`jobs/${job.id}`);
    } catch (e) {
      setError(e);
    }
    setSending(false);
  };

  const change = (value: Record<string, unknown>) => setSubmission({ ...value, kind: submission.kind });
  const rest = { value: submission, onChange: change, pointer: '', errors: check.errors, suggestions: { 'InputArray.name': arrays.data?.arrays.map((a) => a.name) ?? [] } };
  return (
    <form onSubmit={submit}>
      <div class="title">
        <h1>Submit a job</h1>
        <span class="spring" />
        <button type="button" aria-pressed={json !== null} onClick={() => (json === null ? setJSON(JSON.stringify(submission, null, 2)) : (setJSON(null), setRound((n) => n + 1)))}>
          Edit as JSON
        </button>
      </div>
      <div class="columns">
        <div>
          <Panel title="Job">
            <div class="field">
              <label for="kind">kind</label>
              <select id="kind" value={submission.kind} onChange={(e) => load(examples[e.currentTarget.value] ?? { kind: e.currentTarget.value })}>
                {kinds.map((k) => (
                  <option key={k.name}>{k.name}</option>
                ))}
              </select>
              <p class="help">{kind?.summary}</p>
            </div>
            {json !== null ? (
              <div class="field">
                <label for="json">Submission</label>
                <textarea id="json" class="mono" rows={18} spellcheck={false} value={json} onInput={(e) => edit(e.currentTarget.value)} aria-invalid={invalid !== ''} />
                {invalid && <p class="error">{invalid}</p>}
              </div>
            ) : (
              forms && (
                <div key={`${submission.kind} ${round}`}>
                  <Fields {...rest} form={forms.own} />
                  <details>
                    <summary>Options of every job</summary>
                    {forms.common.map((f) => (
                      <Fields key={f.name} {...rest} form={f} />
                    ))}
                  </details>
                </div>
              )
            )}
          </Panel>
        </div>
        <div class="sticky">
          <Panel title="Check">
            <Checked check={check} />
            <Failure error={error} />
            <p class="buttons">
              <button type="submit" class="primary" disabled={sending || invalid !== ''}>
                {sending ? 'Submitting …' : 'Submit'}
              </button>
            </p>
          </Panel>
          <Panel title="The same with curl" tools={<Copy text={curlOfSubmission(submission)}>Copy</Copy>}>
            <pre tabIndex={0}>{curlOfSubmission(submission).slice(0, 5000)}</pre>
          </Panel>
        </div>
      </div>
    </form>
  );
}

function Checked({ check }: { check: Check }) {
  const p = check.preview;
  return (
    <div role="status" class="checked">
      {p && (
        <>
          <p class="good">✓ The service accepts this submission.</p>
          <p class="muted">
            {count(p.items)} {p.items === 1 ? 'item' : 'items'} in {count(p.tasks)} {p.tasks === 1 ? 'task' : 'tasks'}
            {p.bytes > 0 && `, ${bytes(p.bytes)} of data`}
            {p.waiting_items > 0 && `, ${count(p.waiting_items)} wait at the same time`}
          </p>
        </>
      )}
      {check.detail && <p class="error">{check.detail}</p>}
      {check.errors.length > 0 && (
        <ul>
          {check.errors.slice(0, 10).map((e) => (
            <li key={`${e.pointer} ${e.detail}`}>
              <code>{e.pointer ?? e.parameter ?? e.header}</code> {e.detail}
            </li>
          ))}
        </ul>
      )}
    </div>
  );
}
