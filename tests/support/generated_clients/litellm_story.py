"""Files and answers through LiteLLM's proxy in front of the bridge, by OpenAI's own client."""

import json
import sys

from openai import OpenAI

url, wanted = sys.argv[1], json.loads(sys.argv[2])
client = OpenAI(base_url=f"{url}/v1", api_key=wanted["key"], max_retries=0)

row = json.dumps({"messages": [{"role": "user", "content": "2"}]}).encode() + b"\n"
at_ours = {"custom_llm_provider": "openai"}
file = client.files.create(file=("rows.jsonl", row), purpose="fine-tune", extra_body=at_ours)
assert file.bytes == len(row)

question = {
    "model": wanted["model"],
    "messages": [{"role": "user", "content": "What is 2 plus 2?"}],
    "max_tokens": 8,
    "temperature": 0,
}
answer = client.chat.completions.create(**question)
assert answer.usage.completion_tokens <= 8
chunks = client.chat.completions.create(**question, stream=True)
said = "".join(one.choices[0].delta.content or "" for one in chunks if one.choices)
assert said == answer.choices[0].message.content
print("done")
