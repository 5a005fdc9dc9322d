/** The programs of examples/sdk, each against a daemon. */
import assert from "node:assert/strict";
import { type SpawnSyncReturns, spawnSync } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { after, before, test } from "node:test";
import type * as sdk from "../../src/sdk/index.ts";
import { patient } from "../support/patience.ts";
import { busyboxRoot } from "../support/sdk.ts";

const repo = path.resolve(import.meta.dirname, "../..");
const { Davit } = (await import(path.join(repo, "dist/sdk/index.js"))) as typeof sdk;
const directory = mkdtempSync(path.join(tmpdir(), "davit-sdk-examples-"));
let davit: sdk.Davit;

before(async () => {
  davit = await Davit.start({ program: path.join(repo, "bin/davit") });
  const rootfs = busyboxRoot(path.join(directory, "busybox"));
  const config = { cmd: ["sh"], env: { PATH: "/bin" } };
  await davit.load({ rootfs, tag: "docker.io/library/busybox:1.37", config });
});
after(async () => {
  await davit.close();
  rmSync(directory, { recursive: true });
});

function run(...args: readonly string[]): SpawnSyncReturns<string> {
  const env = { ...process.env, DAVIT_ENDPOINT: davit.endpoint, NODE_DISABLE_COMPILE_CACHE: "1" };
  // The runner of this test must not take that of the example for one of its own.
  delete (env as Record<string, string | undefined>)["NODE_TEST_CONTEXT"];
  const options = { cwd: path.join(repo, "examples/sdk"), env, timeout: patient(60_000) };
  return spawnSync(process.execPath, args, { ...options, encoding: "utf8" });
}

async function nothingLeft(): Promise<void> {
  for (let tries = 0; tries < patient(100) && (await davit.pods()).length > 0; tries++) {
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
  assert.deepEqual(await davit.pods(), []);
}

test("database-test tests a server in a pod", async () => {
  const { status, stdout, stderr } = run("--test", "database-test/database.test.ts");
  assert.equal(status, 0, stdout + stderr);
  assert.match(stdout, /pass 3/);
  await nothingLeft();
});

test("untrusted-code runs code within its limits", async () => {
  const { status, stdout, stderr } = run("untrusted-code/main.ts");
  assert.equal(status, 0, stdout + stderr);
  assert.match(stdout, /counts words:\n {2}output: done\n {2}result: 3 (a|rose)\n/);
  assert.match(stdout, /starts too many processes:\n {2}stopped: .*/);
  assert.match(stdout, /never ends:\n {2}stopped: .*it took longer than 5000 ms and was killed/);
  assert.match(stdout, /reaches for the network:\n {2}stopped: .*exit code 1/);
  assert.match(stdout, /writes to the system:\n {2}stopped: .*exit code/);
  assert.doesNotMatch(stdout, /changed/);
  await nothingLeft();
});

const skip = spawnSync("criu", ["--version"]).error === undefined ? false : "criu is not installed";

test("warm-start starts copies of a pod that is ready", { skip }, async () => {
  const { status, stdout, stderr } = run("warm-start/main.ts", "2");
  assert.equal(status, 0, stdout + stderr);
  assert.match(
    stdout,
    /^cold start: \d+ ms\n2 warm starts: \d+ ms\ncopy 1: 2001000\ncopy 2: 2001000\n$/,
  );
  await nothingLeft();
  assert.deepEqual(await davit.snapshots(), []);
});

test("pipeline connects pods by streams", async () => {
  const { status, stdout, stderr } = run("pipeline/main.ts", "200");
  assert.equal(status, 0, stdout + stderr);
  assert.match(stdout, /^the squares of 1 to 200 have the sum 2686700$/m);
  assert.match(stdout, /^worker-2: \d+ ms of CPU time$/m);
  await nothingLeft();
});
