// SPDX-License-Identifier: MIT
// Own minimal stand-ins for the published interface of the batch settlement contract and its collectors, for local tests only.
pragma solidity ^0.8.27;
import {EIP712} from "@openzeppelin/contracts/utils/cryptography/EIP712.sol";
import {Multicall} from "@openzeppelin/contracts/utils/Multicall.sol";
import {SignatureChecker} from "@openzeppelin/contracts/utils/cryptography/SignatureChecker.sol";
import {SafeERC20} from "@openzeppelin/contracts/token/ERC20/utils/SafeERC20.sol";
import {IERC20} from "@openzeppelin/contracts/token/ERC20/IERC20.sol";
import {MiniPermit2} from "./MiniPermit2.sol";
interface I3009 { function receiveWithAuthorization(address f, address t, uint256 v, uint256 va, uint256 vb, bytes32 n, uint8 sv, bytes32 r, bytes32 s) external; }
interface I2612 { function permit(address o, address s, uint256 v, uint256 dl, uint8 sv, bytes32 r, bytes32 ss) external; }
interface ICollector { function collect(address payer, address token, uint256 amount, bytes32 channelId, bytes calldata data) external; }
contract MiniErc3009Collector is ICollector {
    using SafeERC20 for IERC20;
    function collect(address payer, address token, uint256 amount, bytes32 id, bytes calldata data) external {
        (uint256 va, uint256 vb, uint256 salt, bytes memory sig) = abi.decode(data, (uint256, uint256, uint256, bytes));
        bytes32 r; bytes32 s; uint8 v; assembly { r := mload(add(sig, 32)) s := mload(add(sig, 64)) v := byte(0, mload(add(sig, 96))) }
        I3009(token).receiveWithAuthorization(payer, address(this), amount, va, vb, keccak256(abi.encode(id, salt)), v, r, s);
        IERC20(token).safeTransfer(msg.sender, amount);
    }
}
contract MiniPermit2Collector is ICollector {
    using SafeERC20 for IERC20;
    MiniPermit2 public constant PERMIT2 = MiniPermit2(0x000000000022D473030F116dDEE9F6B43aC78BA3);
    string constant WT = "DepositWitness witness)DepositWitness(bytes32 channelId)TokenPermissions(address token,uint256 amount)";
    function collect(address payer, address token, uint256 amount, bytes32 id, bytes calldata data) external {
        (uint256 nonce, uint256 deadline, bytes memory sig, bytes memory permit) = abi.decode(data, (uint256, uint256, bytes, bytes));
        if (permit.length > 0) {
            (uint256 v, uint256 dl, uint8 sv, bytes32 r, bytes32 s) = abi.decode(permit, (uint256, uint256, uint8, bytes32, bytes32));
            try I2612(token).permit(payer, address(PERMIT2), v, dl, sv, r, s) {} catch {}
        }
        PERMIT2.permitWitnessTransferFrom(
            MiniPermit2.PermitTransferFrom(MiniPermit2.TokenPermissions(token, amount), nonce, deadline), MiniPermit2.SignatureTransferDetails(msg.sender, amount),
            payer, keccak256(abi.encode(keccak256("DepositWitness(bytes32 channelId)"), id)), WT, sig
        );
    }
}
contract MiniBatchSettlement is EIP712("x402 Batch Settlement", "1"), Multicall {
    using SafeERC20 for IERC20;
    struct ChannelConfig { address payer; address payerAuthorizer; address receiver; address receiverAuthorizer; address token; uint40 withdrawDelay; bytes32 salt; }
    struct Voucher { ChannelConfig channel; uint128 maxClaimableAmount; }
    struct VoucherClaim { Voucher voucher; bytes signature; uint128 totalClaimed; }
    struct Ch { uint128 balance; uint128 totalClaimed; } struct Rc { uint128 totalClaimed; uint128 totalSettled; } struct W { uint128 amount; uint40 initiatedAt; }
    bytes32 public constant CHANNEL_CONFIG_TYPEHASH = keccak256("ChannelConfig(address payer,address payerAuthorizer,address receiver,address receiverAuthorizer,address token,uint40 withdrawDelay,bytes32 salt)");
    bytes32 constant VT = keccak256("Voucher(bytes32 channelId,uint128 maxClaimableAmount)");
    bytes32 constant RT = keccak256("Refund(bytes32 channelId,uint256 nonce,uint128 amount)");
    bytes32 constant ET = keccak256("ClaimEntry(bytes32 channelId,uint128 maxClaimableAmount,uint128 totalClaimed)");
    bytes32 constant BT = keccak256("ClaimBatch(ClaimEntry[] claims)ClaimEntry(bytes32 channelId,uint128 maxClaimableAmount,uint128 totalClaimed)");
    mapping(bytes32 => Ch) public channels; mapping(bytes32 => W) public pendingWithdrawals; mapping(bytes32 => uint256) public refundNonce; mapping(address => mapping(address => Rc)) public receivers;
    event Settled(address indexed receiver, address indexed token, address indexed sender, uint128 amount);
    function getChannelId(ChannelConfig calldata c) public view returns (bytes32) { return _hashTypedDataV4(keccak256(abi.encode(CHANNEL_CONFIG_TYPEHASH, c.payer, c.payerAuthorizer, c.receiver, c.receiverAuthorizer, c.token, c.withdrawDelay, c.salt))); }
    function getVoucherDigest(bytes32 id, uint128 m) public view returns (bytes32) { return _hashTypedDataV4(keccak256(abi.encode(VT, id, m))); }
    function getRefundDigest(bytes32 id, uint256 n, uint128 a) public view returns (bytes32) { return _hashTypedDataV4(keccak256(abi.encode(RT, id, n, a))); }
    function getClaimBatchDigest(VoucherClaim[] calldata vs) public view returns (bytes32) {
        bytes memory b; for (uint256 i; i < vs.length; i++) b = bytes.concat(b, keccak256(abi.encode(ET, getChannelId(vs[i].voucher.channel), vs[i].voucher.maxClaimableAmount, vs[i].totalClaimed)));
        return _hashTypedDataV4(keccak256(abi.encode(BT, keccak256(b))));
    }
    function deposit(ChannelConfig calldata c, uint128 amount, address collector, bytes calldata data) external {
        require(c.withdrawDelay >= 900 && c.withdrawDelay <= 2592000 && c.receiverAuthorizer != address(0), "cfg");
        bytes32 id = getChannelId(c); uint256 b0 = IERC20(c.token).balanceOf(address(this)); ICollector(collector).collect(c.payer, c.token, amount, id, data);
        require(IERC20(c.token).balanceOf(address(this)) - b0 == amount, "collect"); channels[id].balance += amount;
    }
    function _claim(VoucherClaim calldata v) internal {
        ChannelConfig calldata c = v.voucher.channel; bytes32 id = getChannelId(c); Ch storage ch = channels[id];
        require(v.totalClaimed <= v.voucher.maxClaimableAmount && v.totalClaimed <= ch.balance && v.totalClaimed >= ch.totalClaimed, "amt");
        require(SignatureChecker.isValidSignatureNow(c.payerAuthorizer == address(0) ? c.payer : c.payerAuthorizer, getVoucherDigest(id, v.voucher.maxClaimableAmount), v.signature), "vsig");
        receivers[c.receiver][c.token].totalClaimed += v.totalClaimed - ch.totalClaimed; ch.totalClaimed = v.totalClaimed;
    }
    function claimWithSignature(VoucherClaim[] calldata vs, bytes calldata sig) external {
        require(SignatureChecker.isValidSignatureNow(vs[0].voucher.channel.receiverAuthorizer, getClaimBatchDigest(vs), sig), "asig");
        for (uint256 i; i < vs.length; i++) { require(vs[i].voucher.channel.receiverAuthorizer == vs[0].voucher.channel.receiverAuthorizer, "ra"); _claim(vs[i]); }
    }
    function claim(VoucherClaim[] calldata vs) external { for (uint256 i; i < vs.length; i++) { require(msg.sender == vs[i].voucher.channel.receiver || msg.sender == vs[i].voucher.channel.receiverAuthorizer, "auth"); _claim(vs[i]); } }
    function settle(address r, address t) external { Rc storage x = receivers[r][t]; uint128 a = x.totalClaimed - x.totalSettled; x.totalSettled = x.totalClaimed; IERC20(t).safeTransfer(r, a); emit Settled(r, t, msg.sender, a); }
    function refundWithSignature(ChannelConfig calldata c, uint128 amount, uint256 n, bytes calldata sig) external {
        bytes32 id = getChannelId(c); require(n == refundNonce[id], "nonce"); require(SignatureChecker.isValidSignatureNow(c.receiverAuthorizer, getRefundDigest(id, n, amount), sig), "rsig");
        refundNonce[id]++; delete pendingWithdrawals[id]; _repay(c, id, amount);
    }
    function initiateWithdraw(ChannelConfig calldata c, uint128 amount) external {
        require(msg.sender == c.payer || msg.sender == c.payerAuthorizer, "auth"); require(amount > 0, "amt"); pendingWithdrawals[getChannelId(c)] = W(amount, uint40(block.timestamp));
    }
    function finalizeWithdraw(ChannelConfig calldata c) external {
        bytes32 id = getChannelId(c); W memory w = pendingWithdrawals[id]; require(w.initiatedAt > 0 && block.timestamp >= w.initiatedAt + c.withdrawDelay, "delay");
        delete pendingWithdrawals[id]; _repay(c, id, w.amount);
    }
    function _repay(ChannelConfig calldata c, bytes32 id, uint128 amount) internal {
        uint128 av = channels[id].balance - channels[id].totalClaimed; uint128 a = amount < av ? amount : av; channels[id].balance -= a; if (a > 0) IERC20(c.token).safeTransfer(c.payer, a);
    }
}
