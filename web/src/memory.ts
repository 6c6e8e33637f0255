import { type Job, request, type Submission } from './api';

const draftName = 'gather-draft';

/** setDraft passes a submission to the form. */
export function setDraft(submission: Submission): void {
  sessionStorage.setItem(draftName, JSON.stringify(submission));
}

/** takeDraft returns the submission of setDraft, once. */
export function takeDraft(): Submission | undefined {
  const text = sessionStorage.getItem(draftName);
  sessionStorage.removeItem(draftName);
  return text ? (JSON.parse(text) as Submission) : undefined;
}

/** submissionOf returns the submission of a job; undefined when it is long, or not kept. */
export function submissionOf(job: Job): Submission | undefined {
  return (job.submission as Submission | null) ?? undefined;
}

/** submissionText returns the submission of a job as it can be posted again, with all digits of its numbers. */
export async function submissionText(id: string): Promise<string> {
  return (await request('GET', `v1/jobs/${encodeURIComponent(id)}/submission`)).text();
}

/** parseExact parses a submission. An integer that a double would round becomes a string, which the API reads exactly. */
export function parseExact(text: string): Submission {
  const exact = (_key: string, value: unknown, context?: { source?: string }) =>
    typeof value === 'number' && context?.source && /^-?\d+$/.test(context.source) && !Number.isSafeInteger(value) ? context.source : value;
  return JSON.parse(text, exact as (key: string, value: unknown) => unknown) as Submission;
}
