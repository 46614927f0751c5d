"""A pytest plugin: the clients of openai-python's own tests get our key instead of the one their fixtures hold.

With JUDGE_AMENDED, what the worker refuses by design is taken out of their requests, so that the rest of each is judged.
"""

import os

import openai
from openai._base_client import BaseClient
from told import REFUSED


def keyed(kind):
    whole = kind.__init__

    def init(self, **given):
        if given.get("api_key") == "My API Key":
            given["api_key"] = os.environ["JUDGE_KEY"]
        whole(self, **given)

    kind.__init__ = init


def amended(build):
    def build_request(self, options, **more):
        if options.method == "post" and options.url in REFUSED:
            body = {name: value for name, value in options.json_data.items() if name not in REFUSED[options.url]}
            if options.url == "/responses":
                body = {"model": "gpt-6-astra", "input": "string", **body}
            options.json_data = body
        return build(self, options, **more)

    return build_request


keyed(openai.OpenAI)
keyed(openai.AsyncOpenAI)
if os.environ.get("JUDGE_AMENDED"):
    BaseClient._build_request = amended(BaseClient._build_request)
