// SPDX-License-Identifier: MIT
pragma solidity ^0.8.27;
import {ECDSA} from "@openzeppelin/contracts/utils/cryptography/ECDSA.sol";

// A wallet that is a contract (EIP-1271). Its signatures are abi.encode(number of the owner, the owner's), like those of wallets with several,
// or the owner's alone, over a hash of its own: those are as long as a key's.
contract MiniWallet {
    address public immutable owner;
    constructor(address o) { owner = o; }
    function isValidSignature(bytes32 h, bytes calldata sig) external view returns (bytes4) {
        bool short = sig.length == 65;
        (uint256 number, bytes memory inner) = short ? (0, bytes(sig)) : abi.decode(sig, (uint256, bytes));
        (address signer, ECDSA.RecoverError error,) = ECDSA.tryRecover(short ? keccak256(abi.encode(address(this), h)) : h, inner);
        return number == 0 && error == ECDSA.RecoverError.NoError && signer == owner ? this.isValidSignature.selector : bytes4(0xffffffff);
    }
    function execute(address to, bytes calldata data) external {
        require(msg.sender == owner, "not the owner");
        (bool ok,) = to.call(data); require(ok, "reverted");
    }
}
// Where one comes from: its address is known before it stands there (ERC-6492).
contract MiniWalletFactory {
    function create(address owner) external returns (address) { return address(new MiniWallet{salt: 0}(owner)); }
    function addressOf(address owner) external view returns (address) {
        bytes32 h = keccak256(abi.encodePacked(type(MiniWallet).creationCode, abi.encode(owner)));
        return address(uint160(uint256(keccak256(abi.encodePacked(bytes1(0xff), address(this), bytes32(0), h)))));
    }
}
