import { useId, useState } from 'preact/hooks';
import type { ProblemError } from './api';
import { type Form, type Member, parse, text } from './schema-form';

type Values = Record<string, unknown>;

export interface FormProps {
  form: Form;
  value: Values;
  onChange: (value: Values) => void;
  /** pointer is the JSON pointer of the object. */
  pointer: string;
  errors: ProblemError[];
  /** suggestions are values of members by the names of the schema and the member. */
  suggestions: Record<string, string[]>;
}

// The members of an array that its source takes; those of no source are always shown. The schema has them in a table for people.
const arrayMembers: Record<string, string[]> = {
  ones: ['shape'],
  zeros: ['shape'],
  full: ['shape', 'fill_value'],
  arange: ['start', 'stop', 'step', 'shape'],
  linspace: ['start', 'stop', 'num', 'shape', 'endpoint'],
  random: ['shape', 'seed', 'distribution', 'loc', 'scale', 'low', 'high'],
  values: ['values'],
  npy: ['name', 'url', 'urls', 'concatenate'],
  npz: ['url', 'member'],
  raw: ['url', 'shape', 'offset', 'order', 'byte_order'],
  zarr: ['url'],
};
const ofSources = new Set(Object.values(arrayMembers).flat());

/** applies reports whether a member means something beside the others. */
function applies(form: Form, value: Values, name: string): boolean {
  if (form.name !== 'InputArray' || !ofSources.has(name)) return true;
  return arrayMembers[String(value.source ?? 'values')]?.includes(name) ?? true;
}

/** Fields edits an object. */
export function Fields(props: FormProps) {
  const { form, value, onChange, pointer } = props;
  const [picked, pick] = useState<number | null>(null);
  const group = useId();
  const { alternatives } = form;
  const given = alternatives.findIndex((names) => names.some((n) => value[n] !== undefined));
  const chosen = picked ?? Math.max(0, given);
  const hidden = new Set(alternatives.flatMap((names, i) => (i === chosen ? [] : names)).filter((n) => !alternatives[chosen]?.includes(n)));
  const set = (changes: Values) => {
    const next: Values = { ...value, ...changes };
    for (const name of Object.keys(next)) if (next[name] === undefined || !applies(form, next, name)) delete next[name];
    onChange(next);
  };
  return (
    <>
      {alternatives.length > 1 && (
        <fieldset class="chips">
          <legend class="hidden">Give</legend>
          {alternatives.map((names, i) => (
            <label key={names.join()} class="chip">
              <input
                type="radio"
                name={group}
                checked={i === chosen}
                onChange={() => {
                  pick(i);
                  set(Object.fromEntries(alternatives.flat().filter((n) => !names.includes(n)).map((n) => [n, undefined])));
                }}
              />
              {names.join(' and ')}
            </label>
          ))}
        </fieldset>
      )}
      {form.members
        .filter((m) => !hidden.has(m.name) && applies(form, value, m.name))
        .map((m) => (
          <Field
            key={m.name}
            {...props}
            member={{ ...m, required: m.required || (alternatives[chosen]?.includes(m.name) ?? false) }}
            pointer={`${pointer}/${m.name}`}
            one={value[m.name]}
            set={(v) => set({ [m.name]: v })}
          />
        ))}
    </>
  );
}

interface FieldProps extends FormProps {
  member: Member;
  one: unknown;
  set: (value: unknown) => void;
}

function Field(props: FieldProps) {
  const { member, one, set, pointer, errors, form, suggestions } = props;
  const { shape } = member;
  const id = useId();
  const [typed, setTyped] = useState(() => text(shape, one));
  const own = errors.filter((e) => e.pointer === pointer || e.pointer?.startsWith(`${pointer}/`));
  const described = { 'aria-describedby': own.length > 0 ? `${id}-error` : `${id}-help`, 'aria-invalid': own.length > 0 };

  if (shape.type === 'object') {
    const value = (one ?? {}) as Values;
    return (
      <fieldset class="group">
        <legend>
          {member.name}
          {member.required && <Required />}
        </legend>
        <Fields {...props} form={shape.object} value={value} onChange={(v) => set(Object.keys(v).length > 0 ? v : undefined)} />
        {errors
          .filter((e) => e.pointer === pointer)
          .map((e) => (
            <p class="error" key={e.detail}>
              {e.detail}
            </p>
          ))}
      </fieldset>
    );
  }
  const change = (e: { currentTarget: { value: string } }) => {
    setTyped(e.currentTarget.value);
    set(parse(shape, e.currentTarget.value));
  };
  let input;
  switch (shape.type) {
    case 'choice':
    case 'boolean':
      input = (
        <select id={id} {...described} value={one === undefined ? '' : String(one)} onChange={(e) => set(e.currentTarget.value === '' ? undefined : shape.type === 'boolean' ? e.currentTarget.value === 'true' : e.currentTarget.value)}>
          <option value="">default</option>
          {('choices' in shape ? shape.choices : ['true', 'false']).map((c) => (
            <option key={c}>{c}</option>
          ))}
        </select>
      );
      break;
    case 'choices': {
      const list = (Array.isArray(one) ? one : []) as string[];
      return (
        <fieldset class="field chips">
          <legend>
            {member.name}
            {member.required && <Required />}
          </legend>
          {shape.choices.map((c) => (
            <label key={c} class="chip">
              <input type="checkbox" checked={list.includes(c)} onChange={(e) => set(e.currentTarget.checked ? [...list, c] : list.filter((x) => x !== c))} />
              {c}
            </label>
          ))}
          <Notes id={id} help={member.help} errors={own} />
        </fieldset>
      );
    }
    case 'list':
    case 'labels':
      input = <textarea id={id} {...described} rows={shape.type === 'labels' ? 2 : 3} spellcheck={false} value={typed} placeholder={shape.type === 'labels' ? 'team: a' : 'separated by commas or spaces'} onInput={change} />;
      break;
    default: {
      const list = suggestions[`${form.name}.${member.name}`];
      input = (
        <>
          <input id={id} {...described} list={list && `${id}-list`} spellcheck={false} autocomplete="off" inputMode={shape.type === 'number' ? 'decimal' : undefined} value={typed} placeholder={shape.type === 'json' ? 'JSON or text' : undefined} onInput={change} />
          {list && (
            <datalist id={`${id}-list`}>
              {list.map((v) => (
                <option key={v} value={v} />
              ))}
            </datalist>
          )}
        </>
      );
    }
  }
  return (
    <div class="field">
      <label for={id}>
        {member.name}
        {member.required && <Required />}
      </label>
      {input}
      <Notes id={id} help={member.help} errors={own} />
    </div>
  );
}

const Required = () => <span class="muted"> required</span>;

function Notes({ id, help, errors }: { id: string; help: string; errors: ProblemError[] }) {
  return (
    <>
      {errors.length > 0 && (
        <p class="error" id={`${id}-error`}>
          {errors
            .slice(0, 5)
            .map((e) => e.detail)
            .join('; ')}
        </p>
      )}
      <p class="help" id={`${id}-help`}>
        {help}
      </p>
    </>
  );
}
