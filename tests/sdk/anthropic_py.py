"""The Anthropic library for Python."""

from anthropic import Anthropic, APIError, AuthenticationError, NotFoundError
from judge import ANTHROPIC, ASK_WEATHER, COUNT, COUNTED, OPENAI, RUN, WEATHER, breaks_next_stream, judge, raises

client = Anthropic(base_url=RUN["base_url"], api_key=RUN["inference_key"], max_retries=0)
tools = [{"name": "get_weather", "input_schema": WEATHER}]


def said(text):
    return [{"role": "user", "content": text}]


def chat(model):
    answer = client.messages.create(model=model, max_tokens=100, messages=said(COUNT))
    assert answer.content[0].text.endswith(COUNTED), answer
    assert answer.stop_reason == "end_turn"
    assert answer.usage.output_tokens > 0 and float(answer.usage.cost_usd) > 0


def stream(model):
    with client.messages.stream(model=model, max_tokens=100, messages=said(COUNT)) as events:
        text = "".join(events.text_stream)
        last = events.get_final_message()
    assert text.endswith(COUNTED) and text == last.content[0].text, text
    assert last.stop_reason == "end_turn" and last.usage.output_tokens > 0


def tool(model):
    ask = {"model": model, "max_tokens": 200, "tools": tools}
    messages = said(ASK_WEATHER)
    first = client.messages.create(messages=messages, **ask)
    assert first.stop_reason == "tool_use"
    with client.messages.stream(messages=messages, **ask) as events:
        streamed = [block for block in events.get_final_message().content if block.type == "tool_use"]
    [call] = [block for block in first.content if block.type == "tool_use"]
    assert call.name == streamed[0].name == "get_weather" and call.input == streamed[0].input
    result = {"type": "tool_result", "tool_use_id": call.id, "content": "18 degrees"}
    messages += [{"role": "assistant", "content": first.content}, {"role": "user", "content": [result]}]
    last = client.messages.create(messages=messages, **ask)
    assert last.stop_reason == "end_turn" and last.content[0].text


def refusal():
    ask = {"max_tokens": 9, "messages": said(COUNT)}
    error = raises(NotFoundError, lambda: client.messages.create(model="openai/none", **ask))
    assert error.body["error"]["type"] == "not_found_error" and error.request_id.startswith("req_"), error.body
    other = client.with_options(api_key="mr_sk_forged")
    raises(AuthenticationError, lambda: other.messages.create(model=ANTHROPIC, **ask))


def broken(model):
    def read():
        with client.messages.stream(model=model, max_tokens=100, messages=said(COUNT)) as events:
            events.get_final_message()

    breaks_next_stream(model.split("/")[0])
    raises(APIError, read)


judge("anthropic (Python)", {
    "chat": lambda: chat(ANTHROPIC), "stream": lambda: stream(ANTHROPIC), "tool": lambda: tool(ANTHROPIC),
    "refusal": refusal, "broken": lambda: broken(ANTHROPIC),
})
judge("anthropic (Python), OpenAI model", {
    "chat": lambda: chat(OPENAI), "stream": lambda: stream(OPENAI), "tool": lambda: tool(OPENAI),
    "broken": lambda: broken("mistral/codestral-2508"),
})
