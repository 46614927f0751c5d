// GET /models and /models/{id}: any name is served, so the list holds one example.
import { anthropic } from "./anthropic.mjs";
import { openaiChat, openaiError } from "./openai_chat.mjs";

const CREATED = 1_767_225_600;

function direct(_, call) {
  const id = call.model ?? "simulated-model";
  if (call.headers["anthropic-version"]) {
    const row = { type: "model", id, display_name: id, created_at: new Date(CREATED * 1000).toISOString() };
    return call.model ? row : { data: [row], has_more: false, first_id: id, last_id: id };
  }
  const row = { id, object: "model", created: CREATED, owned_by: call.provider };
  return call.model ? row : { object: "list", data: [row] };
}

export const models = {
  read: () => null,
  direct,
  error: openaiError,
  headers: (call) => (call.headers["anthropic-version"] ? anthropic.headers(call) : openaiChat.headers(call)),
  unauthorized: openaiChat.unauthorized,
};
