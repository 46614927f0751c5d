// What no stock client signs: payments and vouchers by hand, for tests that hold a worker against them.
import { concat, keccak256 } from "viem";
import { BATCH_SETTLEMENT, CHAIN_ID, ERC3009_COLLECTOR } from "../chain.mjs";

const words = (text) => text.split(",").map((one) => { const [type, name] = one.trim().split(" "); return { name, type }; });
const TRANSFER = "address from,address to,uint256 value,uint256 validAfter,uint256 validBefore,bytes32 nonce";

/** A voucher of a channel for `most`, signed by `wallet`. */
export async function voucherOf(wallet, channelId, most) {
  const signature = await wallet.signTypedData({
    domain: { name: "x402 Batch Settlement", version: "1", chainId: CHAIN_ID, verifyingContract: BATCH_SETTLEMENT },
    types: { Voucher: words("bytes32 channelId,uint128 maxClaimableAmount") },
    primaryType: "Voucher",
    message: { channelId, maxClaimableAmount: BigInt(most) },
  });
  return { channelId, maxClaimableAmount: String(most), signature };
}

/** A deposit into a channel by EIP-3009; `offer` is the one the channel is of. */
export async function depositOf(wallet, channelId, amount, offer, salt = keccak256(crypto.getRandomValues(new Uint8Array(32)))) {
  const validBefore = String(Math.floor(Date.now() / 1000) + 600);
  const nonce = keccak256(concat([channelId, salt]));
  const message = { from: wallet.address, to: ERC3009_COLLECTOR, value: amount, validAfter: 0, validBefore, nonce };
  const signature = await authorized(wallet, "ReceiveWithAuthorization", offer, message);
  return { amount: String(amount), authorization: { erc3009Authorization: { validAfter: "0", validBefore, salt, signature } } };
}

/** A transfer by EIP-3009 as the payload of `exact`, with whatever is to be different in it. */
export async function transferOf(wallet, offer, changes = {}) {
  const message = {
    from: wallet.address,
    to: offer.payTo,
    value: offer.amount ?? offer.maxAmountRequired,
    validAfter: "0",
    validBefore: String(Math.floor(Date.now() / 1000) + 120),
    nonce: keccak256(crypto.getRandomValues(new Uint8Array(32))),
    ...changes,
  };
  return { authorization: message, signature: await authorized(wallet, "TransferWithAuthorization", offer, message) };
}

function authorized(wallet, primaryType, { asset, extra }, message) {
  const numbers = Object.fromEntries(["value", "validAfter", "validBefore"].map((name) => [name, BigInt(message[name])]));
  return wallet.signTypedData({
    domain: { name: extra.name, version: extra.version, chainId: CHAIN_ID, verifyingContract: asset },
    types: { [primaryType]: words(TRANSFER) }, primaryType, message: { ...message, ...numbers },
  });
}
