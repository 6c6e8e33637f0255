import { apiKey, base, type Submission } from './api';

const quote = (text: string) => `'${text.replaceAll("'", `'\\''`)}'`;

/** curl returns a curl command. The key is a variable of the shell, so that it does not get into its history. */
function curl(path: string, rest = ''): string {
  const key = apiKey.get() ? ' -H "Authorization: Bearer $GATHER_API_KEY"' : '';
  return `curl -s ${new URL(path, base).href}${key}${rest}`;
}

/** curlOfSubmission returns the command that submits a job. */
export const curlOfSubmission = (submission: Submission): string => curl('v1/jobs', ` \\\n  --json ${quote(JSON.stringify(submission))}`);

/** curlOfJob returns the command that reads a job. */
export const curlOfJob = (id: string): string => curl(`v1/jobs/${id}`);
