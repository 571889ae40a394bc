"""The program of sdk-script.ts for Python's official SDK, for each of `RUNS`. Prints what it came to, a JSON line each."""
import json
import os
import time

import openai

client = openai.OpenAI(api_key=os.environ["GATEWAY_KEY"], base_url=os.environ["GATEWAY_URL"], max_retries=0)
extra = {}
chat = client.chat.completions
weather = {
    "type": "object",
    "properties": {"city": {"type": "string"}},
    "required": ["city"],
    "additionalProperties": False,
}


def ask(content):
    return {"model": "mine", "messages": [{"role": "user", "content": content}], "extra_body": extra}


def stream_text(**body):
    text, counts = "", False
    for chunk in chat.create(stream=True, **body):
        text += (chunk.choices[0].delta.content or "") if chunk.choices else ""
        counts = counts or bool(chunk.usage)
    return {"text": text, "counts": counts}


def chats():
    with chat.stream(**ask("Hi")) as stream:
        helper = stream.get_final_completion().choices[0].message.content
    return {
        "chat": chat.create(**ask("Hi")).choices[0].message.content,
        "stream": stream_text(stream_options={"include_usage": True}, **ask("Hi")),
        "slow_stream": stream_text(**ask("Slowly"))["text"],
        "helper": helper,
    }


def called(call):
    return {"name": call.function.name, "arguments": call.function.arguments}


def tools_and_json():
    tool = {"type": "function", "function": {"name": "weather", "description": "Tells the weather", "parameters": weather}}
    asked = {**ask("Weather"), "tools": [tool]}
    message = chat.create(**asked).choices[0].message
    with chat.stream(**asked) as stream:
        streamed = stream.get_final_completion().choices[0].message
    call = message.tool_calls[0]
    result = {"role": "tool", "tool_call_id": call.id, "content": "20 degrees"}
    goes_on = {**asked, "messages": [*asked["messages"], message.to_dict(), result]}
    schema = {"type": "json_schema", "json_schema": {"name": "place", "strict": True, "schema": weather}}
    return {
        "tools": called(call),
        "tools_helper": called(streamed.tool_calls[0]),
        "tool_result": chat.create(**goes_on).choices[0].message.content,
        "json": json.loads(chat.create(response_format=schema, **ask("As JSON")).choices[0].message.content),
    }


def embedding(has_embeddings):
    if not has_embeddings:
        return None
    made = client.embeddings.create(model="mine", input="Hi", encoding_format="float", extra_body=extra)
    return made.data[0].embedding


def ends_as(response_id, status):
    for _ in range(500):
        response = client.responses.retrieve(response_id)
        if response.status == status:
            return response
        time.sleep(0.02)
    raise TimeoutError(f"the response is {response.status}, not {status}")


def responses():
    body = {"model": "mine", "input": "Hi", "extra_body": extra}
    with client.responses.stream(**body) as stream:
        stream.until_done()
        helper = stream.get_final_response().output_text
    queued = client.responses.create(background=True, **body)
    done = ends_as(queued.id, "completed")
    never = client.responses.create(background=True, **{**body, "input": "Never"})
    client.responses.cancel(never.id)
    return {
        "response": client.responses.create(**body).output_text,
        "response_helper": helper,
        "background": [queued.status, done.status, done.output_text],
        "cancelled": ends_as(never.id, "cancelled").status,
    }


def failure():
    try:
        chat.create(**ask("Fail"))
        return []
    except openai.APIStatusError as error:
        found = "No such luck" if "No such luck" in str(error) else str(error)
        return [error.status_code, type(error).__name__, found]


def run(has_embeddings):
    made = embedding(has_embeddings)
    return {**chats(), **tools_and_json(), "embedding": made, **responses(), "failure": failure()}


for each in json.loads(os.environ["RUNS"]):
    extra["user_config"] = each["user_config"]
    print(json.dumps({"name": each["name"], **run(each["has_embeddings"])}), flush=True)
