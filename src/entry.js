// The whole shim around the Wasm: plumbing only, no decisions.
import * as rust from "../build/index.js";
import { DurableObject, WorkerEntrypoint } from "cloudflare:workers";
import { authorized } from "./edge/authorize.js";

const life = rust.__worker_init_state(); // instanceId moves when a trap made wasm-bindgen start the module afresh

export default class extends WorkerEntrypoint {
  fetch(request) { return rust.fetch.call(this, request, this.env, this.ctx); }
  scheduled(event) { return rust.scheduled.call(this, event, this.env, this.ctx); }
}

// RPC is open only to classes that extend DurableObject, so each Rust object stands behind one of these.
const facade = (Half) => class extends DurableObject {
  #half; #born;
  get half() {
    if (this.#born !== life.instanceId) { this.#half = new Half(this.ctx, this.env, this.ctx.id.name ?? ""); this.#born = life.instanceId; }
    return this.#half;
  }
  // A throw (a Rust Err or a panic) takes the turn's writes back. Memory is only a cache of SQL, so it goes too.
  turn(work) {
    try { return this.ctx.storage.transactionSync(() => work(this.half)); } catch (error) { this.#born = undefined; throw error; }
  }
  call(letter) {
    const answer = this.turn((half) => half.call(letter));
    this.arm();
    return answer;
  }
  arm() {
    const at = this.half.wake();
    if (at > 0) this.ctx.storage.setAlarm(at);
  }
  // Beside the alarm: a receiver that hangs holds up nothing.
  async deliver({ alert, endpoint, nonce, step, url, headers, body, key }) {
    if (step === "claim" || step === "leave") body = await authorized(body, this.env.X402_AUTHORIZER_KEY?.split(",")[key]);
    const answer = await fetch(url, { method: body ? "POST" : "GET", headers, body: body || undefined, redirect: "manual", signal: AbortSignal.timeout(nonce ? 30e3 : 15e3) }).catch(() => null);
    const told = nonce ? await answer?.arrayBuffer().catch(() => null) : await answer?.body?.cancel();
    const status = answer?.status ?? 0;
    if (nonce) this.turn((half) => half.answered(nonce, step, told ? status : 0, new Uint8Array(told ?? 0)));
    else this.turn((half) => half.delivered(alert, endpoint, status));
    this.arm();
  }
  async alarm() {
    try {
      this.turn((half) => half.ring());
      const sent = await this.half.send();
      this.turn((half) => half.sent(sent));
      for (const one of JSON.parse(this.half.outgoing?.() ?? "[]")) this.deliver(one);
    } finally {
      this.arm();
    }
  }
};

export class AccountObject extends facade(rust.AccountObject) {}
export class HealthObject extends facade(rust.HealthObject) {}
