"""The OpenAI library for Python."""

import json

from judge import ANTHROPIC, ASK_WEATHER, COUNT, COUNTED, OPENAI, RUN, WEATHER, breaks_next_stream, judge, raises
from openai import APIError, AuthenticationError, NotFoundError, OpenAI

client = OpenAI(base_url=f"{RUN['base_url']}/v1", api_key=RUN["inference_key"], max_retries=0)
tools = [{"type": "function", "function": {"name": "get_weather", "parameters": WEATHER}}]


def said(text):
    return [{"role": "user", "content": text}]


def chat(model):
    answer = client.chat.completions.create(model=model, messages=said(COUNT))
    assert answer.choices[0].message.content.endswith(COUNTED), answer
    assert answer.choices[0].finish_reason == "stop"
    assert answer.usage.total_tokens == answer.usage.prompt_tokens + answer.usage.completion_tokens
    assert float(answer.usage.cost_usd) > 0


def stream(model):
    for options in ({}, {"stream_options": {"include_usage": True}, "max_completion_tokens": 100}):
        chunks = list(client.chat.completions.create(model=model, messages=said(COUNT), stream=True, **options))
        text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
        assert text.endswith(COUNTED), text
        assert any(chunk.usage for chunk in chunks) == bool(options)


def tool(model):
    messages = said(ASK_WEATHER)
    first = client.chat.completions.create(model=model, messages=messages, tools=tools).choices[0]
    assert first.finish_reason == "tool_calls"
    with client.chat.completions.stream(model=model, messages=messages, tools=tools) as events:
        for _ in events:
            pass
        streamed = events.get_final_completion().choices[0].message.tool_calls[0]
    call = first.message.tool_calls[0]
    assert call.function.name == streamed.function.name == "get_weather"
    assert json.loads(call.function.arguments) == json.loads(streamed.function.arguments)
    messages += [first.message, {"role": "tool", "tool_call_id": call.id, "content": "18 degrees"}]
    last = client.chat.completions.create(model=model, messages=messages, tools=tools).choices[0]
    assert last.finish_reason == "stop" and last.message.content


def refusal():
    error = raises(NotFoundError, lambda: client.chat.completions.create(model="openai/none", messages=said(COUNT)))
    assert error.code == "model_not_found" and error.request_id.startswith("req_"), error
    other = client.with_options(api_key="mr_sk_forged")
    raises(AuthenticationError, lambda: other.chat.completions.create(model=OPENAI, messages=said(COUNT)))


def broken(model):
    breaks_next_stream(model.split("/")[0])
    raises(APIError, lambda: list(client.chat.completions.create(model=model, messages=said(COUNT), stream=True)))


def models():
    assert OPENAI in [model.id for model in client.models.list()]
    assert client.models.retrieve(OPENAI).id == OPENAI


judge("openai (Python)", {
    "chat": lambda: chat(OPENAI), "stream": lambda: stream(OPENAI), "tool": lambda: tool(OPENAI),
    "refusal": refusal, "broken": lambda: broken("zai/glm-4.5-air"), "models": models,
})
judge("openai (Python), Anthropic model", {
    "chat": lambda: chat(ANTHROPIC), "stream": lambda: stream(ANTHROPIC), "tool": lambda: tool(ANTHROPIC),
})
