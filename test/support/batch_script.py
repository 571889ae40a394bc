"""Files and batches as users of the official Python SDK write them. Prints what it saw as JSON."""

import json
import os
import time

from openai import BadRequestError, OpenAI

client = OpenAI(base_url=os.environ["GATEWAY_URL"] + "/v1", api_key=os.environ["GATEWAY_KEY"], max_retries=0)
user_config = json.loads(os.environ["USER_CONFIG"])
seen = {}


def upload(name, text):
    return client.files.create(file=(name, text.encode()), purpose="batch")


def lines(*names):
    rows = [
        {
            "custom_id": name,
            "method": "POST",
            "url": "/v1/chat/completions",
            "body": {"model": "mine", "messages": [{"role": "user", "content": name}]},
        }
        for name in names
    ]
    return "".join(json.dumps(row) + "\n" for row in rows)


def ended(batch):
    while batch.status not in ("completed", "failed", "cancelled", "expired"):
        time.sleep(0.05)
        batch = client.batches.retrieve(batch.id)
    return batch


def create(file, **extra):
    return client.batches.create(
        input_file_id=file.id,
        endpoint="/v1/chat/completions",
        completion_window="24h",
        metadata={"from": "python"},
        extra_body={"user_config": user_config, **extra},
    )


file = upload("lines.jsonl", lines("good-1", "bad-2", "good-3"))
seen["file"] = [file.object, file.purpose, file.status, file.filename]
batch = ended(create(file))
seen["batch"] = [batch.object, batch.status, batch.metadata, batch.request_counts.to_dict()]
output = client.files.content(batch.output_file_id)
seen["output"] = sorted(json.loads(line)["custom_id"] for line in output.text.splitlines())
error = client.files.content(batch.error_file_id).text
seen["error"] = [[row["custom_id"], row["response"]["status_code"]] for row in map(json.loads, error.splitlines())]

hanging = create(upload("hang.jsonl", lines("hang")))
while client.batches.retrieve(hanging.id).status == "validating":
    time.sleep(0.05)
seen["cancel"] = client.batches.cancel(hanging.id).status
seen["cancelled"] = ended(hanging).status
try:
    client.batches.cancel(hanging.id)
except BadRequestError as problem:
    seen["again"] = [problem.status_code, problem.code]
ids = [one.id for one in client.batches.list(limit=1)]
seen["list"] = ids == [hanging.id, batch.id]
seen["deleted"] = client.files.delete(file.id).deleted
print(json.dumps(seen))
