"""LangChain's own integration tests for chat models, by its clients of both dialects, on models of both dialects."""

import struct
import zlib

import pytest
from langchain_anthropic import ChatAnthropic
from langchain_openai import ChatOpenAI
from langchain_tests.integration_tests import ChatModelIntegrationTests, chat_models
from told import ANTHROPIC, OPENAI, RUN

URL, KEY = RUN["base_url"], RUN["inference_key"]


def chunk(kind, data):
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


PNG = (
    b"\x89PNG\r\n\x1a\n"
    + chunk(b"IHDR", struct.pack(">IIBBBBB", 8, 8, 8, 2, 0, 0, 0))
    + chunk(b"IDAT", zlib.compress((b"\0" + b"\x20\x80\xc0" * 8) * 8))
    + chunk(b"IEND", b"")
)
PDF = b"%PDF-1.4\n1 0 obj<</Type/Catalog/Pages 2 0 R>>endobj\n2 0 obj<</Type/Pages/Kids[]/Count 0>>endobj\ntrailer<</Root 1 0 R>>\n%%EOF\n"


@pytest.fixture(autouse=True)
def nothing_is_fetched(monkeypatch):
    """The suite fetches its picture and its document from the web; here they are made."""

    class Fetched:
        def __init__(self, url, **_):
            self.content = PDF if url.endswith(".pdf") else PNG

    monkeypatch.setattr(chat_models.httpx, "get", Fetched)


class Suite(ChatModelIntegrationTests):
    model_name = ""

    @property
    def supports_image_inputs(self):
        return True

    @property
    def supports_image_tool_message(self):
        return True

    @property
    def supports_pdf_inputs(self):
        return True

    @property
    def supports_anthropic_inputs(self):
        return True

    @property
    def model_override_value(self):
        return "gpt-5-mini" if self.model_name == ANTHROPIC else "claude-haiku-4-5"  # the test seeks it in the answer's bare name


class Chat(Suite):
    chat_model_class = ChatOpenAI
    more = {}

    @property
    def chat_model_params(self):
        return {"model": self.model_name, "base_url": f"{URL}/v1", "api_key": KEY, "max_retries": 0, "stream_usage": True, **self.more}

    @property
    def supports_json_mode(self):
        return True


class Messages(Suite):
    chat_model_class = ChatAnthropic

    @property
    def chat_model_params(self):
        return {"model": self.model_name, "base_url": URL, "api_key": KEY, "max_retries": 0, "max_tokens": 2048}


class Responses(Chat):
    more = {"use_responses_api": True}


class TestChatOnOpenai(Chat):
    model_name = OPENAI


class TestChatOnAnthropic(Chat):
    model_name = ANTHROPIC


class TestResponsesOnOpenai(Responses):
    model_name = OPENAI


class TestResponsesOnAnthropic(Responses):
    model_name = ANTHROPIC


class TestMessagesOnOpenai(Messages):
    model_name = OPENAI


class TestMessagesOnAnthropic(Messages):
    model_name = ANTHROPIC
