// What a lying facilitator answers, and what a facilitator of the x402-rs family would have said.
import { randomBytes } from "node:crypto";

const payerOf = ({ payload } = {}) => payload?.authorization?.from ?? payload?.permit2Authorization?.from ?? payload?.channelConfig?.payer;

/** A good answer to `operation` with nothing behind it, if that is what is to be lied about. */
export function lie(about, operation, { paymentPayload, paymentRequirements } = {}) {
  const payer = payerOf(paymentPayload);
  const { type, voucher, deposit } = paymentPayload?.payload ?? {};
  const books = { channelId: voucher?.channelId, balance: deposit?.amount ?? "1000000000", totalClaimed: "0", withdrawRequestedAt: 0, refundNonce: "0" };
  if (about === "valid" && operation === "verify") return { isValid: true, payer, ...(voucher && { extra: books }) };
  if (about === "settled" && operation === "settle") {
    const { network, scheme, amount } = paymentRequirements ?? {};
    const transaction = `0x${randomBytes(32).toString("hex")}`;
    return { success: true, transaction, network, payer, ...(scheme === "upto" && { amount }), ...(type === "deposit" && { amount: deposit.amount, extra: { channelState: books } }) };
  }
}

// Refusals by that family's words. What it only learns from a reverted call, it calls an unexpected error.
const WORDS = [
  [/nonce|already_used|signature|simulation|transaction_failed/, 500, "unexpected_error"],
  [/insufficient/, 400, "insufficient_funds"],
  [/valid_before|expired/, 400, "invalid_payment_expired"],
  [/valid_after|not_yet|too_early/, 400, "invalid_payment_early"],
  [/value|amount/, 400, "invalid_payment_amount"],
  [/recipient|receiver/, 400, "recipient_mismatch"],
  [/token|asset/, 400, "asset_mismatch"],
  [/network/, 400, "chain_id_mismatch"],
  [/allowance/, 400, "permit2_allowance_insufficient"],
  [/scheme/, 400, "unsupported_scheme"],
  [/payload|format|eip712/, 400, "invalid_format"],
];

/** The answer with the status and the code that facilitator would have used. Good news is said alike. */
export function spokenAsRs(operation, status, answer) {
  const [good, reason, details] = operation === "verify" ? ["isValid", "invalidReason", "invalidReasonDetails"] : ["success", "errorReason", "errorReasonDetails"];
  if (answer[good]) return [status, answer];
  const said = answer[reason] ?? "";
  const [, code, word] = WORDS.find(([known]) => known.test(said)) ?? [, 500, "unexpected_error"];
  const { invalidMessage, errorMessage, ...rest } = answer;
  return [code, { ...rest, [reason]: word, [details]: invalidMessage ?? errorMessage ?? said, payer: answer.payer ?? "" }];
}
