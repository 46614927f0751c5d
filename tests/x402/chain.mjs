// The local chain as the rig, the facilitator and the clients see it: addresses, accounts and the calls they share.
import { readFileSync } from "node:fs";
import {
  createPublicClient, createWalletClient, defineChain, encodeAbiParameters, encodeDeployData, encodeFunctionData, erc20Abi, hashMessage, hashTypedData, http,
  keccak256, maxUint256, parseAbiItem, publicActions,
} from "viem";
import { serializeErc6492Signature } from "viem/utils";
import { generatePrivateKey, mnemonicToAccount, privateKeyToAccount } from "viem/accounts";

export const CHAIN_ID = 84532; // Base Sepolia's: stock clients know its USDC
export const NETWORK = `eip155:${CHAIN_ID}`;
export const NETWORK_V1 = "base-sepolia";

export const USDC = "0x036CbD53842c5426634e7929541eC2318f3dCF7e"; // a default asset of stock clients
export const USDT = "0xfde4C96c8593536E31F229EA8f37b2ADa2699bb2"; // like USDT: neither EIP-3009 nor EIP-2612
export const PERMIT2 = "0x000000000022D473030F116dDEE9F6B43aC78BA3";
export const EXACT_PROXY = "0x402085c248EeA27D92E8b30b2C58ed07f9E20001";
export const UPTO_PROXY = "0x4020A4f3b7b90ccA423B9fabCc0CE57C6C240002";
export const BATCH_SETTLEMENT = "0x4020074e9dF2ce1deE5A9C1b5c3f541D02a10003";
export const ERC3009_COLLECTOR = "0x4020806089470a89826cB9fB1f4059150b550004";
export const PERMIT2_COLLECTOR = "0x4020425FAf3B746C082C2f942b4E5159887B0005";
export const MULTICALL3 = "0xcA11bde05977b3631167028862bE2a173976CA11";
export const WALLET_FACTORY = "0x00000000000000000000000000000000000fac70"; // of no real chain

// What stands at each address: name of the contract, and the arguments of its constructor.
const PLACES = {
  [USDC]: ["TestUSD", ["USDC", "USDC", 6]],
  [USDT]: ["TestUSDT"],
  [PERMIT2]: ["MiniPermit2"],
  [EXACT_PROXY]: ["MiniExactProxy"],
  [UPTO_PROXY]: ["MiniUptoProxy"],
  [BATCH_SETTLEMENT]: ["MiniBatchSettlement"],
  [ERC3009_COLLECTOR]: ["MiniErc3009Collector"],
  [PERMIT2_COLLECTOR]: ["MiniPermit2Collector"],
  [MULTICALL3]: ["MiniMulticall3"],
  [WALLET_FACTORY]: ["MiniWalletFactory"],
};

// The public test phrase that anvil's accounts come from; they hold ETH on local chains only.
const PHRASE = "test test test test test test test test test test test junk";
const account = (addressIndex) => mnemonicToAccount(PHRASE, { addressIndex });
export const [deployer, facilitator, payer, merchant, authorizer, merchantAuthorizer] = [0, 1, 2, 3, 4, 5].map(account);
export const keyOf = ({ getHdKey }) => `0x${Buffer.from(getHdKey().privateKey).toString("hex")}`;

const TRANSFER = parseAbiItem("event Transfer(address indexed from, address indexed to, uint256 value)");
const GAS_MONEY = 10n ** 18n;

export const artifacts = JSON.parse(readFileSync(new URL("artifacts.json", import.meta.url)));

/** The chain behind `rpcUrl`: clients of viem, and what tests ask of it. */
export function chainAt(rpcUrl) {
  const chain = defineChain({ id: CHAIN_ID, name: "local", nativeCurrency: { name: "Ether", symbol: "ETH", decimals: 18 }, rpcUrls: { default: { http: [rpcUrl] } } });
  const options = { chain, transport: http(rpcUrl, { batch: true }), pollingInterval: 20 };
  const reader = createPublicClient(options);
  const wallet = (of) => createWalletClient({ ...options, account: of }).extend(publicActions);
  const rpc = (method, params = []) => reader.request({ method, params });

  const read = (address, functionName, args = [], abi = erc20Abi) => reader.readContract({ address, abi, functionName, args });
  const balance = (token, of) => read(token, "balanceOf", [address(of)]);
  const allowance = (token, of, spender = PERMIT2) => read(token, "allowance", [address(of), spender]);
  const setEth = (of, wei) => rpc("anvil_setBalance", [address(of), `0x${BigInt(wei).toString(16)}`]);
  const eth = (of) => reader.getBalance({ address: address(of) });
  const balances = async (of) => {
    const [usdc, usdt, wei] = await Promise.all([balance(USDC, of), balance(USDT, of), eth(of)]);
    return { usdc, usdt, eth: wei };
  };
  /** A token's transfers out of an account, or into one. */
  const transfers = async (token, { from, to }) => {
    const logs = await reader.getLogs({ address: token, event: TRANSFER, args: { from, to }, fromBlock: 0n });
    return logs.map(({ transactionHash, args }) => ({ transaction: transactionHash, from: args.from, to: args.to, amount: args.value }));
  };
  /** The batch settlement contract's books of a channel. */
  const batchAbi = artifacts.MiniBatchSettlement.abi;
  const channel = async (id) => {
    const [[held, totalClaimed], [, withdrawRequestedAt], refundNonce] = await Promise.all(
      ["channels", "pendingWithdrawals", "refundNonce"].map((name) => read(BATCH_SETTLEMENT, name, [id], batchAbi)),
    );
    return { balance: held, totalClaimed, withdrawRequestedAt, refundNonce };
  };

  // A call as an account whose key the chain has, or that it impersonates; mined at once, also where blocks take their time. One after the
  // other: the chain gives two of an account at once the same nonce.
  const inTurn = turns();
  const as = (...call) => inTurn(() => sent(...call));
  async function sent(from, to, functionName, args, abi = artifacts.TestUSD.abi) {
    const hash = await rpc("eth_sendTransaction", [{ from: address(from), to, gas: "0x7a120", data: encodeFunctionData({ abi, functionName, args }) }]);
    await rpc("anvil_mine", ["0x1"]);
    const { status } = await reader.waitForTransactionReceipt({ hash });
    if (status !== "success") throw new Error(`${functionName} reverted`);
  }
  const mint = (token, to, amount) => as(deployer, token, "mint", [address(to), BigInt(amount)]);
  /** The same as any account, which keeps the ETH it had. */
  async function impersonating(of, ...call) {
    const before = await eth(of);
    if (before < GAS_MONEY) await setEth(of, GAS_MONEY);
    await rpc("anvil_impersonateAccount", [address(of)]);
    await as(of, ...call);
    await rpc("anvil_stopImpersonatingAccount", [address(of)]);
    await setEth(of, before);
  }
  const approvePermit2 = (of, token, amount = maxUint256) => impersonating(of, token, "approve", [PERMIT2, amount]);
  /** The payer of a channel begins to leave without asking the merchant, and takes the money once the chain's clock is past the delay. */
  const beginWithdrawal = (config, amount) => impersonating(config.payer, BATCH_SETTLEMENT, "initiateWithdraw", [config, BigInt(amount)], batchAbi);
  async function finishWithdrawal(config) {
    await rpc("evm_increaseTime", [config.withdrawDelay]);
    await impersonating(config.payer, BATCH_SETTLEMENT, "finalizeWithdraw", [config], batchAbi);
  }
  /** A new account with tokens, by default without a wei and without any approval. */
  async function fresh({ usdc = 0n, usdt = 0n, eth: wei = 0n } = {}) {
    const key = generatePrivateKey();
    const made = { ...privateKeyToAccount(key), key };
    for (const [token, amount] of [[USDC, usdc], [USDT, usdt]]) if (BigInt(amount) > 0n) await mint(token, made, amount);
    if (wei) await setEth(made, wei);
    return made;
  }

  /**
   * A new account that is a contract, with tokens. Its owner is a key; what it signs only the chain can check. One that is not `deployed`
   * says in each signature how it would be (ERC-6492). Those of a `short` one are as long as a key's.
   */
  async function freshContract({ usdc = 0n, usdt = 0n, deployed = true, short = false } = {}) {
    const owner = await fresh();
    const abi = artifacts.MiniWalletFactory.abi;
    const at = await read(WALLET_FACTORY, "addressOf", [owner.address], abi);
    if (deployed) await as(deployer, WALLET_FACTORY, "create", [owner.address], abi);
    for (const [token, amount] of [[USDC, usdc], [USDT, usdt]]) if (BigInt(amount) > 0n) await mint(token, at, amount);
    const sealing = (plain) => (signature) => {
      const own = encodeAbiParameters([{ type: "uint256" }, { type: "bytes" }], [0n, signature]);
      const data = encodeFunctionData({ abi, functionName: "create", args: [owner.address] });
      return plain ? own : serializeErc6492Signature({ address: WALLET_FACTORY, data, signature: own });
    };
    const signing = (sealed) => ({
      address: at,
      owner,
      signTypedData: async (typed) => sealed(await owner.signTypedData(typed)),
      signMessage: async ({ message }) => sealed(await owner.signMessage({ message })),
      standing: () => signing(sealing(true)),
    });
    // The owner's signature, over a hash of the contract's own.
    const own = (hash) => owner.sign({ hash: keccak256(encodeAbiParameters([{ type: "address" }, { type: "bytes32" }], [at, hash])) });
    const short65 = { signTypedData: (typed) => own(hashTypedData(typed)), signMessage: ({ message }) => own(hashMessage(message)) };
    return { ...signing(sealing(deployed)), ...(short && short65) };
  }

  return { rpcUrl, chain, reader, wallet, rpc, freshContract, balance, balances, allowance, eth, setEth, transfers, channel, mint, approvePermit2, beginWithdrawal, finishWithdrawal, fresh };
}

const address = (of) => (typeof of === "string" ? of : of.address);

/** Runs what it is given one after the other. */
export function turns() {
  let last = Promise.resolve();
  return (work) => {
    const mine = last.then(work);
    last = mine.catch(() => {});
    return mine;
  };
}

/** Puts the contracts at their addresses, without a transaction: a call to a constructor answers the code that it would leave. */
export async function place({ rpc }) {
  await Promise.all(Object.entries(PLACES).map(async ([at, [name, args = []]]) => {
    const { abi, bytecode } = artifacts[name];
    const code = await rpc("eth_call", [{ from: deployer.address, data: encodeDeployData({ abi, bytecode, args }) }, "latest"]);
    await rpc("anvil_setCode", [at, code]);
  }));
}
