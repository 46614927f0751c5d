"""Stock paying clients in Python: httpx, requests and OpenAI's library over httpx. A line of JSON is printed for each call.

PAYER_KEY=0x… [RPC_URL=] [SCHEMES=exact,upto,batch-settlement] [STREAM=1] [CALLS=1] [SIWX=1] [TRACE=1] pay.py CLIENT URL [BODY]
"""

import asyncio
import base64
import json
import os
import sys

import httpx
import requests
from eth_account import Account
from openai import AsyncOpenAI
from web3 import Web3
from x402 import x402Client, x402ClientSync
from x402.extensions.sign_in_with_x import CreateSIWxClientExtensionOptions, create_siwx_client_extension
from x402.http.clients import wrapRequestsWithPayment, x402HttpxClient
from x402.mechanisms.evm.batch_settlement.client import BatchSettlementEvmScheme
from x402.mechanisms.evm.exact import ExactEvmClientScheme
from x402.mechanisms.evm.signers import EthAccountSignerWithRPC
from x402.mechanisms.evm.upto import UptoEvmClientScheme

NETWORK = "eip155:84532"
USDC = "0x036CbD53842c5426634e7929541eC2318f3dCF7e"
USDT = "0xfde4C96c8593536E31F229EA8f37b2ADa2699bb2"
SCHEMES = {"exact": ExactEvmClientScheme, "upto": UptoEvmClientScheme, "batch-settlement": BatchSettlementEvmScheme}
BODY = '{"model":"auto","messages":[{"role":"user","content":"hello"}]}'
RECEIPTS = ("PAYMENT-RESPONSE", "X-PAYMENT-RESPONSE")
PAYMENTS = ("PAYMENT-SIGNATURE", "X-PAYMENT")

key = os.environ["PAYER_KEY"]
rpc_url = os.environ.get("RPC_URL", "http://127.0.0.1:8545")
schemes = os.environ.get("SCHEMES", "batch-settlement,upto,exact").split(",")
stream = bool(os.environ.get("STREAM"))
account = Account.from_key(key)
exchanges = []


def payer(make):
    signer = EthAccountSignerWithRPC(account, rpc_url)
    client = make().set_spend_controls({"allowed_assets": [{"network": NETWORK, "asset": token} for token in (USDC, USDT)]})
    for name in schemes:
        client.register(NETWORK, SCHEMES[name](signer))
    if os.environ.get("SIWX"):
        client.register_extension(create_siwx_client_extension(CreateSIWxClientExtensionOptions(signers=[account])))
    return client


def saw(method, url, sent, status, got):
    def decoded(headers, *names):
        value = next((headers[name] for name in names if name in headers), None)
        return json.loads(base64.b64decode(value)) if value else None

    exchanges.append({
        "method": method,
        "url": str(url),
        "payment": decoded(sent, *PAYMENTS),
        "signIn": decoded(sent, "SIGN-IN-WITH-X"),
        "status": status,
        "required": decoded(got, "PAYMENT-REQUIRED"),
        "receipt": decoded(got, *RECEIPTS),
    })


class Wire(httpx.AsyncHTTPTransport):
    """The transport under the one that pays; it remembers what went over it."""

    async def handle_async_request(self, request):
        response = await super().handle_async_request(request)
        saw(request.method, request.url, request.headers, response.status_code, response.headers)
        return response


def paying_httpx():
    client = x402HttpxClient(payer(x402Client), timeout=60)
    client._transport._transport = Wire()
    return client


async def with_httpx(url, body):
    http = paying_httpx()

    async def call():
        response = await http.post(url, json=body)
        return body_of(response.headers, response.text)

    return call


async def with_openai(url, body):
    openai = AsyncOpenAI(base_url=url.removesuffix("/chat/completions"), api_key="none", http_client=paying_httpx(), max_retries=0)
    body = {name: value for name, value in body.items() if name != "stream"}

    async def call():
        answer = await openai.chat.completions.create(**body, stream=stream)
        if not stream:
            return {"answer": answer.model_dump(exclude_none=True)}
        events = [chunk async for chunk in answer]
        text = "".join(event.choices[0].delta.content or "" for event in events if event.choices)
        return {"events": [event.model_dump(exclude_none=True) for event in events], "text": text}

    return call


async def with_requests(url, body):
    plain = requests.adapters.HTTPAdapter.send

    def traced(self, request, **options):
        response = plain(self, request, **options)
        if not request.url.startswith(rpc_url):
            saw(request.method, request.url, request.headers, response.status_code, response.headers)
        return response

    # The paying adapter sends by its parent class, so that is where it can be watched.
    requests.adapters.HTTPAdapter.send = traced
    session = wrapRequestsWithPayment(requests.Session(), payer(x402ClientSync))

    async def call():
        response = session.post(url, json=body, timeout=60)
        return body_of(response.headers, response.text)

    return call


def body_of(headers, text):
    if headers.get("content-type", "").startswith("text/event-stream"):
        return {"events": [event.removeprefix("data: ") for event in text.strip().split("\n\n")]}
    try:
        return {"answer": json.loads(text)}
    except ValueError:
        return {"answer": text}


def balances():
    chain = Web3(Web3.HTTPProvider(rpc_url))
    of = account.address[2:].lower().rjust(64, "0")
    held = {name: str(int(chain.eth.call({"to": token, "data": "0x70a08231" + of}).hex(), 16)) for name, token in (("usdc", USDC), ("usdt", USDT))}
    return {**held, "eth": str(chain.eth.get_balance(account.address))}


def story(seen):
    paid = next((exchange["payment"] for exchange in reversed(seen) if exchange["payment"]), None) or {}
    accepted = paid.get("accepted") or {}
    last = seen[-1] if seen else {}
    told = {
        "status": last.get("status"),
        "requests": len(seen),
        "scheme": accepted.get("scheme") or paid.get("scheme"),
        "asset": accepted.get("asset"),
        "type": (paid.get("payload") or {}).get("type"),
        "signedIn": any(exchange["signIn"] for exchange in seen) or None,
        "error": (last.get("required") or {}).get("error"),
        "receipt": last.get("receipt"),
    }
    return {name: value for name, value in told.items() if value is not None}


async def main():
    name, url, *rest = sys.argv[1:]
    body = json.loads(rest[0] if rest else BODY)
    if stream:
        body["stream"] = True
    call = await {"httpx": with_httpx, "requests": with_requests, "openai": with_openai}[name](url, body)
    for _ in range(int(os.environ.get("CALLS", "1"))):
        start, before = len(exchanges), balances()
        try:
            outcome = await call()
        except Exception as error:
            outcome = {"failure": f"{type(error).__name__}: {error}"}
        seen = exchanges[start:]
        trace = {"exchanges": seen} if os.environ.get("TRACE") else {}
        print(json.dumps({"client": f"python_{name}", **story(seen), **outcome, "before": before, "after": balances(), **trace}))


asyncio.run(main())
