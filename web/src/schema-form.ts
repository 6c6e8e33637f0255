// Reads the JSON Schemas of GET /v1/kinds for the form. It covers what the schemas of kinds use; a member that it cannot
// describe is edited as JSON.

export interface Schema {
  $ref?: string;
  $defs?: Record<string, Schema>;
  title?: string;
  description?: string;
  type?: string | string[];
  const?: unknown;
  enum?: unknown[];
  examples?: unknown[];
  properties?: Record<string, Schema>;
  required?: string[];
  additionalProperties?: boolean | Schema;
  items?: Schema;
  allOf?: Schema[];
  oneOf?: Schema[];
  anyOf?: Schema[];
  not?: Schema;
}

/** A Shape is how a member is edited. */
export type Shape =
  | { type: 'choice' | 'choices'; choices: string[] }
  | { type: 'boolean' | 'number' | 'text' | 'scalar' | 'list' | 'labels' | 'json' }
  | { type: 'object'; object: Form };

export interface Member {
  name: string;
  shape: Shape;
  help: string;
  required: boolean;
}

export interface Form {
  /** name is the name of the schema; '' for none. */
  name: string;
  title: string;
  help: string;
  members: Member[];
  /** alternatives are sets of members of which one has to be given. */
  alternatives: string[][];
}

/** resolve returns a schema with its reference replaced; what stands beside the reference wins. */
function resolve(root: Schema, schema: Schema & { name?: string }): Schema & { name: string } {
  let name = schema.name ?? '';
  let result = schema;
  while (result.$ref) {
    name = result.$ref.split('/').pop() ?? '';
    const { $ref: _, ...rest } = result;
    result = { ...root.$defs?.[name], ...rest };
    if (result.$ref === schema.$ref) break;
  }
  return { ...result, name };
}

/** optionsOf returns the alternatives of a schema other than null. */
function optionsOf(root: Schema, schema: Schema): Schema[] {
  const options = schema.oneOf ?? schema.anyOf ?? [];
  return options.map((o) => resolve(root, o)).filter((o) => o.type !== 'null');
}

function typesOf(schema: Schema): string[] {
  return [schema.type ?? []].flat().filter((t) => t !== 'null');
}

function isScalar(root: Schema, schema: Schema): boolean {
  const s = resolve(root, schema);
  const options = optionsOf(root, s);
  if (options.length > 0) return options.every((o) => isScalar(root, o));
  const types = typesOf(s);
  return types.length > 0 && types.every((t) => t === 'string' || t === 'number' || t === 'integer');
}

function shapeOf(root: Schema, schema: Schema): Shape {
  const s = resolve(root, schema);
  const options = optionsOf(root, s);
  if (options.length === 1) return shapeOf(root, options[0]);
  if (s.enum) return { type: 'choice', choices: s.enum.map(String) };
  if (options.length > 1) return isScalar(root, s) ? { type: 'scalar' } : { type: 'json' };
  const types = typesOf(s);
  if (types.length !== 1) return { type: types.length > 1 && isScalar(root, s) ? 'scalar' : 'json' };
  switch (types[0]) {
    case 'boolean':
      return { type: 'boolean' };
    case 'integer':
    case 'number':
      return { type: 'number' };
    case 'string':
      return { type: 'text' };
    case 'array': {
      if (!s.items) return { type: 'json' };
      const items = resolve(root, s.items);
      if (items.enum) return { type: 'choices', choices: items.enum.map(String) };
      return { type: isScalar(root, items) ? 'list' : 'json' };
    }
    case 'object':
      if (s.properties) return { type: 'object', object: formOf(root, s) };
      if (typeof s.additionalProperties === 'object' && typesOf(resolve(root, s.additionalProperties))[0] === 'string') return { type: 'labels' };
  }
  return { type: 'json' };
}

/** paragraph returns the first paragraph of a description, without marks. */
function paragraph(text: string | undefined): string {
  return (text ?? '').split(/\n\s*\n/)[0].replaceAll('`', '').replaceAll('\n', ' ').trim();
}

/** formOf describes an object. */
export function formOf(root: Schema, schema: Schema): Form {
  const s = resolve(root, schema);
  const members = Object.entries(s.properties ?? {})
    .filter(([, p]) => resolve(root, p).const === undefined)
    .map(([name, p]): Member => {
      const property = resolve(root, p);
      const inner = optionsOf(root, property);
      return {
        name,
        shape: shapeOf(root, p),
        help: paragraph(property.description ?? (inner.length === 1 ? inner[0].description : undefined)),
        required: s.required?.includes(name) ?? false,
      };
    });
  return {
    name: s.name,
    title: s.title ?? '',
    help: paragraph(s.description),
    members,
    alternatives: (s.not?.not?.oneOf ?? []).map((o) => o.required ?? []),
  };
}

/** formsOf returns the forms of a kind's submission: its own members, and those of every kind. */
export function formsOf(schema: Schema): { own: Form; common: Form[] } {
  const forms = (schema.allOf ?? [schema]).map((part) => ({ form: formOf(schema, part), own: resolve(schema, part).properties?.kind !== undefined }));
  const own = forms.find((f) => f.own)?.form ?? formOf(schema, schema);
  return { own, common: forms.filter((f) => !f.own).map((f) => f.form) };
}

const number = /^[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?$/;

/** scalar reads a number or a string. An integer that a double would round stays a string, which the API reads exactly. */
export function scalar(text: string): unknown {
  const t = text.trim();
  if (!number.test(t)) return t;
  const n = Number(t);
  return Number.isFinite(n) && (!/^[+-]?\d+$/.test(t) || Number.isSafeInteger(n)) ? n : t;
}

/** parse reads the text of a field; undefined leaves the member out. */
export function parse(shape: Shape, text: string): unknown {
  if (text.trim() === '') return undefined;
  switch (shape.type) {
    case 'number':
    case 'scalar':
      return scalar(text);
    case 'list':
      return text.split(/[\s,]+/).filter(Boolean).map(scalar);
    case 'labels':
      return Object.fromEntries(
        text
          .split('\n')
          .filter((line) => line.trim() !== '')
          .map((line) => {
            const at = line.search(/[:=]/);
            return at < 0 ? [line.trim(), ''] : [line.slice(0, at).trim(), line.slice(at + 1).trim()];
          }),
      );
    case 'json':
      try {
        return JSON.parse(text);
      } catch {
        return text.trim();
      }
  }
  return text;
}

/** text returns what a field shows for a value. */
export function text(shape: Shape, value: unknown): string {
  if (value === undefined || value === null) return '';
  if (shape.type === 'list' && Array.isArray(value)) return value.join(', ');
  if (shape.type === 'labels')
    return Object.entries(value as object)
      .map(([k, v]) => `${k}: ${v}`)
      .join('\n');
  return typeof value === 'string' ? value : JSON.stringify(value);
}
