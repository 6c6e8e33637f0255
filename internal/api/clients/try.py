"""Submits a job of each kind, and one that is rejected, with the Python types that quicktype generates from openapi.yaml.

The gate generates gather_types.py beside this file. The argument is the URL of the server.
"""

import json
import sys
import urllib.error
import urllib.request

import gather_types as g

server = sys.argv[1]


def call(method, path, body=None, **headers):
    """Sends a request and returns the JSON of the response; a response of 4xx or 5xx raises urllib.error.HTTPError."""
    data = None if body is None else json.dumps(body.to_dict()).encode()
    request = urllib.request.Request(server + path, data, {"Content-Type": "application/json", **headers}, method=method)
    with urllib.request.urlopen(request) as response:
        return json.load(response)


hundred = g.InputArray(source=g.ArraySource.ARANGE, shape=[100], chunks=30)
jobs = [
    (g.SleepBatchSubmission(kind=g.SleepBatchSubmissionKind.SLEEP_BATCH, count=3, duration="10ms", priority=g.Priority.HIGH), 3, None),
    (g.SquaresSubmission(kind=g.SquaresSubmissionKind.SQUARES, numbers=[3, 2.5, str(10**18)]), 3, [9, 6.25, 10**36]),
    (g.ArraySumSubmission(kind=g.ArraySumSubmissionKind.ARRAY_SUM, array=hundred), 4950, None),
    (
        g.ArrayReduceSubmission(kind=g.ArrayReduceSubmissionKind.ARRAY_REDUCE, array=hundred, ops=[g.Statistic.MEAN, g.Statistic.ARGMAX]),
        {"mean": 49.5, "argmax": 99},
        None,
    ),
]
for submission, result, items in jobs:
    job = g.Job.from_dict(call("POST", "/v1/jobs", submission, Prefer="wait=20"))
    assert (job.state, job.result) == (g.State.SUCCEEDED, result), job
    page = g.Results.from_dict(call("GET", f"/v1/jobs/{job.id}/results?order=index"))
    values = [item.value for item in page.items]
    assert items is None or values == items, values
    print(f"python: {job.kind}: result {job.result}, items {values}")

try:
    call("POST", "/v1/jobs", g.SleepBatchSubmission(kind=g.SleepBatchSubmissionKind.SLEEP_BATCH, count=-1))
    sys.exit("a negative count was accepted")
except urllib.error.HTTPError as e:
    problem = g.Problem.from_dict(json.load(e))
    assert (problem.status, problem.errors[0].pointer) == (422, "/count"), problem
    print(f"python: rejected: {problem.errors[0].pointer} {problem.errors[0].detail}")
