"""Checks of each answer that the fuzzer gets: no fault of the gateway's own, and every error in OpenAI's shape."""

import schemathesis

# What a provider that can't be reached, or a wait that is over, is answered with.
UPSTREAM = {"sync_wait_exceeded", "job_expired", "upstream_unreachable", "upstream_timeout", "upstream_error"}


@schemathesis.check
def openai_errors(ctx, response, case):
    if response.status_code < 400:
        return
    if case.method.upper() == "HEAD":
        return
    error = response.json()["error"]
    assert isinstance(error["message"], str) and error["message"], "an error says what is wrong"
    assert isinstance(error["type"], str) and "param" in error and "code" in error, "an error has OpenAI's members"
    assert response.headers.get("x-request-id"), "an answer has a request id"
    if response.status_code >= 500:
        assert error["code"] in UPSTREAM, f"{response.status_code} {error['code']}"
