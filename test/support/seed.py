"""Sends the Python snippets of the seed through the official SDK and prints what came back, a JSON line each."""
import json
import os
import sys

import openai

client = openai.OpenAI(api_key=os.environ["GATEWAY_KEY"], base_url=os.environ["GATEWAY_URL"], max_retries=0)
messages = [{"role": "user", "content": "this is a test request, write a short poem"}]
user_config = json.loads(os.environ["USER_CONFIG"])
base = os.environ["PROVIDER_BASE"]


def send(name, model, extra_body):
    try:
        response = client.chat.completions.create(model=model, messages=messages, extra_body=extra_body)
        result = {"text": response.choices[0].message.content}
    except openai.APIStatusError as error:
        body = error.body if isinstance(error.body, dict) else {}
        result = {"error": type(error).__name__, "status": error.status_code, "param": body.get("param")}
    print(json.dumps({"name": name, **result}))


print(json.dumps({"version": openai.__version__}), file=sys.stderr)
send("user_config", "user-azure-instance", {"user_config": user_config})
send("api_key_and_base", "gpt-3.5-turbo", {"api_key": "my-bad-key", "api_base": f"{base}/v1"})
triple = {"api_key": "my-azure-key", "api_base": base, "api_version": "2024-10-21"}
send("azure_triple", "gpt-3.5-turbo", triple)
send("provider_specific", "house", {"vertex_ai_location": "us-east1"})
send("refused", "house", {"api_key": "my-bad-key"})
