import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { cp, mkdir, mkdtemp, rm, symlink, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import path from "node:path";
import { after, before, describe, test } from "node:test";
import { promisify } from "node:util";

const run = promisify(execFile);
const repo = path.resolve(import.meta.dirname, "../..");

/** What dependency-cruiser's JSON says of one import that broke a rule. */
interface Violation {
  readonly from: string;
  readonly to: string;
  readonly rule: { readonly name: string };
}

// A small tree that keeps every rule: what the planted files below import from.
const legal = {
  "src/base/errors.ts": "export const failure = 1;\n",
  "src/wire/frame.ts": "export const frame = 1;\n",
  "src/gen/api_pb.ts": "export const schema = 1;\n",
  "src/linux/process/index.ts": 'export { spawn } from "node:child_process";\n',
  "src/linux/process/child.ts": "export const child = 1;\n",
  "src/core/sandbox/index.ts": 'export { state } from "./state.ts";\n',
  "src/core/sandbox/state.ts":
    'import { failure } from "../../base/errors.ts";\nexport const state = failure;\n',
  "src/core/sandbox/testing/suite.ts":
    'import { state } from "../state.ts";\nexport const suite = state;\n',
  "src/core/sandbox/store.test.ts":
    'import { suite } from "./testing/suite.ts";\nimport { readFile } from "node:fs/promises";\nexport const seen = [suite, readFile];\n',
  "src/engine/sandbox/run.ts":
    'import { state } from "../../core/sandbox/index.ts";\nexport const run = state;\n',
  "src/drivers/cni/index.ts":
    'import { state } from "../../core/sandbox/index.ts";\nimport { spawn } from "../../linux/process/index.ts";\nexport const cni = [state, spawn];\n',
  "src/drivers/oci/index.ts": "export const oci = 1;\n",
  "src/drivers/oci/create.ts": "export const create = 1;\n",
  "src/cri/image/pull.ts": "export const pull = 1;\n",
  "src/manifest/parse.ts": "export const parse = 1;\n",
  "src/doctor/checks/disk.ts": "export const disk = 1;\n",
  "src/daemon/build/build.ts":
    'import { cni } from "../../drivers/cni/index.ts";\nexport const build = cni;\n',
  "src/page/view.ts": "export const view = 1;\n",
  "src/page/format.ts": "export const format = 1;\n",
  "src/cli/main.ts":
    'import { build } from "../daemon/build/build.ts";\nimport { view } from "../page/view.ts";\nexport const main = [build, view];\n',
} as const;

// One row a rule: a file that breaks it, and the rule's name.
const planted: readonly (readonly [rule: string, file: string, text: string])[] = [
  ["layer-base", "src/base/planted.ts", 'import "../gen/api_pb.ts";'],
  ["layer-gen", "src/gen/planted.ts", 'import "../linux/process/index.ts";'],
  ["layer-linux", "src/linux/planted.ts", 'import "../core/sandbox/index.ts";'],
  ["layer-wire", "src/wire/planted.ts", 'import "../linux/process/index.ts";'],
  ["layer-config", "src/config/planted.ts", 'import "../core/sandbox/index.ts";'],
  ["layer-core", "src/core/sandbox/planted.ts", 'import "../../linux/process/index.ts";'],
  ["layer-telemetry", "src/telemetry/planted.ts", 'import "../linux/process/index.ts";'],
  ["layer-stdio", "src/stdio/planted.ts", 'import "../wire/frame.ts";'],
  ["layer-oci-spec", "src/oci-spec/planted.ts", 'import "../linux/process/index.ts";'],
  ["layer-manifest", "src/manifest/planted.ts", 'import "../core/sandbox/index.ts";'],
  ["layer-unpack", "src/unpack/planted.ts", 'import "../core/sandbox/index.ts";'],
  ["layer-verify", "src/verify/planted.ts", 'import "../core/sandbox/index.ts";'],
  ["layer-engine", "src/engine/planted.ts", 'import "../gen/api_pb.ts";'],
  ["layer-drivers", "src/drivers/oci/planted-layer.ts", 'import "../../cri/image/pull.ts";'],
  ["layer-cri", "src/cri/planted.ts", 'import "../drivers/oci/index.ts";'],
  ["layer-streaming", "src/streaming/planted.ts", 'import "../cri/image/pull.ts";'],
  ["layer-telemetry", "src/telemetry/planted.ts", 'import "../linux/process/index.ts";'],
  ["layer-client", "src/client/planted.ts", 'import "../core/sandbox/index.ts";'],
  ["layer-daemon", "src/daemon/planted.ts", 'import "../cli/main.ts";'],
  ["layer-sdk", "src/sdk/planted.ts", 'import "../linux/process/index.ts";'],
  ["layer-nri", "src/nri/planted.ts", 'import "../core/sandbox/index.ts";'],
  ["layer-doctor", "src/doctor/planted.ts", 'import "../daemon/build/build.ts";'],
  ["layer-page", "src/page/planted.ts", 'import "../base/errors.ts";'],
  ["layer-cli", "src/cli/planted.ts", 'import "../cri/image/pull.ts";'],
  ["layer-unknown", "src/misc/planted.ts", 'import "../base/errors.ts";'],
  ["sibling-drivers", "src/drivers/oci/planted.ts", 'import "../cni/index.ts";'],
  ["rpc-files-are-thin", "src/cri/runtime/planted.ts", 'import "../image/pull.ts";'],
  ["pure-directories", "src/engine/planted-io.ts", 'import "node:fs/promises";'],
  ["pure-directories", "src/manifest/planted-io.ts", 'import "node:fs";'],
  ["browser-code", "src/page/planted-io.ts", 'import "node:path";'],
  ["spawn-in-linux", "src/daemon/planted-spawn.ts", 'import "node:child_process";'],
  ["no-test-code", "src/daemon/planted-test.ts", 'import "../core/sandbox/testing/suite.ts";'],
  ["front-doors", "src/daemon/planted-import.ts", 'import "../drivers/oci/create.ts";'],
  ["front-doors", "src/daemon/planted-linux.ts", 'import "../linux/process/child.ts";'],
  ["front-doors", "src/cli/planted-manifest.ts", 'import "../manifest/parse.ts";'],
  ["front-doors", "src/cli/planted-doctor.ts", 'import "../doctor/checks/disk.ts";'],
  ["front-doors", "src/cli/planted-page.ts", 'import "../page/format.ts";'],
  ["unresolved", "src/base/planted-nowhere.ts", 'import "./nowhere.ts";'],
];

describe("the layer check", () => {
  let tree = "";

  before(async () => {
    tree = await mkdtemp(path.join(tmpdir(), "davit-layers-"));
    for (const file of [".dependency-cruiser.mjs", "layers.mjs", "tsconfig.json", "package.json"]) {
      await cp(path.join(repo, file), path.join(tree, file));
    }
    await symlink(path.join(repo, "node_modules"), path.join(tree, "node_modules"));
    for (const [file, text] of Object.entries(legal)) await write(file, text);
  });

  after(() => rm(tree, { recursive: true }));

  test("passes a tree that keeps every rule", async () => {
    assert.deepEqual(await violations(), []);
  });

  test("catches each planted violation under its own name", async () => {
    for (const [, file, text] of planted) await write(file, `${text}\nexport const planted = 1;\n`);
    await write(
      "src/base/circle-a.ts",
      'import { b } from "./circle-b.ts";\nexport const a = b;\n',
    );
    await write(
      "src/base/circle-b.ts",
      'import { a } from "./circle-a.ts";\nexport const b = a;\n',
    );

    const found = await violations();
    for (const [rule, file] of planted) {
      assert.ok(
        found.some((violation) => violation.rule.name === rule && violation.from === file),
        `${rule} did not catch ${file}`,
      );
    }
    assert.ok(
      found.some(({ rule, from }) => rule.name === "no-circular" && from.includes("circle")),
    );
    const innocent = found.filter(({ from }) => from in legal);
    assert.deepEqual(innocent, [], "a legal file was blamed");
  });

  test("has a planted violation for every layer of the table", async () => {
    const { layers } = (await import(path.join(repo, "layers.mjs"))) as { layers: object };
    const tried = new Set(planted.map(([rule]) => rule));
    for (const layer of Object.keys(layers)) assert.ok(tried.has(`layer-${layer}`), layer);
  });

  async function write(file: string, text: string): Promise<void> {
    const target = path.join(tree, file);
    await mkdir(path.dirname(target), { recursive: true });
    await writeFile(target, text);
  }

  /** Every broken rule that the gate's own command line finds in the tree. */
  async function violations(): Promise<readonly Violation[]> {
    const cruiser = path.join(tree, "node_modules/dependency-cruiser/bin/dependency-cruise.mjs");
    const args = [cruiser, "--config", ".dependency-cruiser.mjs", "--output-type", "json", "src"];
    const { stdout } = await run(process.execPath, args, { cwd: tree, maxBuffer: 64 << 20 });
    const answer = JSON.parse(stdout) as { summary: { violations: readonly Violation[] } };
    return answer.summary.violations;
  }
});
