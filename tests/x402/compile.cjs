// Makes artifacts.json from contracts/, which only a changed contract needs. The compiler takes up to a minute; bring it first:
// npm install --no-save --ignore-scripts solc@0.8.37 @openzeppelin/contracts@5.7.0
const { readFileSync, readdirSync, writeFileSync } = require("node:fs");
const { createRequire } = require("node:module");
const path = require("node:path");

const at = (...names) => path.join(__dirname, ...names);
// SOLC_FOLDER is where these packages are, if not here.
const packages = createRequire(path.join(process.env.SOLC_FOLDER ?? __dirname, "package.json"));
const solc = packages("solc");

const files = readdirSync(at("contracts")).sort();
const input = {
  language: "Solidity",
  sources: Object.fromEntries(files.map((name) => [name, { content: readFileSync(at("contracts", name), "utf8") }])),
  settings: {
    viaIR: true,
    optimizer: { enabled: true, runs: 200 },
    evmVersion: "cancun",
    metadata: { bytecodeHash: "none", appendCBOR: false },
    outputSelection: { "*": { "*": ["abi", "evm.bytecode.object"] } },
  },
};
const find = (name) => {
  try {
    return { contents: readFileSync(packages.resolve(name), "utf8") };
  } catch (error) {
    return { error: String(error) };
  }
};

const { errors = [], contracts } = JSON.parse(solc.compile(JSON.stringify(input), { import: find }));
for (const { severity, formattedMessage } of errors) if (severity === "error") throw new Error(formattedMessage);
const made = files.flatMap((name) => Object.entries(contracts[name])).filter(([, { evm }]) => evm.bytecode.object);
const artifacts = made.map(([name, { abi, evm }]) => `${JSON.stringify(name)}:${JSON.stringify({ abi, bytecode: `0x${evm.bytecode.object}` })}`);
writeFileSync(at("artifacts.json"), `{\n${artifacts.join(",\n")}\n}\n`);
