"""The program of test/e2e/sdk-files.test.ts for Python's official SDK. Prints what it came to as JSON."""
import json
import os

import openai

client = openai.OpenAI(api_key=os.environ["GATEWAY_KEY"], base_url=os.environ["GATEWAY_URL"], max_retries=0)
content = b"the content\n" * 10_000
created = client.files.create(
    file=("notes.txt", content), purpose="user_data", expires_after={"anchor": "created_at", "seconds": 7200}
)
again = client.files.retrieve(created.id)
read = client.files.content(created.id).read()
for number in range(12):
    client.files.create(file=(f"{number}.txt", b"x"), purpose="evals")
names = [file.filename for file in client.files.list(purpose="evals", order="asc", limit=5)]
deleted = client.files.delete(created.id)
try:
    client.files.retrieve(created.id)
    failure = None
except openai.NotFoundError as error:
    failure = [error.status_code, error.code]
for file in client.files.list(limit=3):
    client.files.delete(file.id)
print(
    json.dumps(
        {
            "created": [created.filename, created.bytes, created.purpose, created.status],
            "kept": created.expires_at - created.created_at,
            "same": again.model_dump() == created.model_dump(),
            "read": read == content,
            "names": names,
            "deleted": deleted.deleted,
            "failure": failure,
            "left": len(list(client.files.list())),
        }
    )
)
