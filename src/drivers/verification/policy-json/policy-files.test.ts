import assert from "node:assert/strict";
import { mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, test } from "node:test";

import { PolicyFiles } from "./policy-files.ts";

let dir: string;
let path: string;
let namespaces: string;
beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), "davit-policies-"));
  path = join(dir, "policy.json");
  namespaces = join(dir, "policies");
});
afterEach(() => rmSync(dir, { recursive: true }));

const write = (file: string, requirement: unknown): void =>
  writeFileSync(file, JSON.stringify({ default: [requirement] }));
const typeFor = async (files: PolicyFiles, namespace = ""): Promise<string | undefined> =>
  (await files.policyOf(namespace))?.policy.default[0]?.type;
const accept = { type: "insecureAcceptAnything" };
const reject = { type: "reject" };
/** Accepts by default, but not everything. */
const scoped = JSON.stringify({
  default: [accept],
  transports: { docker: { "registry.test": [reject] } },
});

describe("PolicyFiles", () => {
  test("reads a policy again when it has changed", async () => {
    const files = new PolicyFiles({ path, directory: "" });
    assert.equal(await typeFor(files), undefined);
    write(path, accept);
    assert.equal(await typeFor(files), "insecureAcceptAnything");
    write(path, reject);
    assert.equal(await typeFor(files, "team"), "reject");
    writeFileSync(path, "{");
    await assert.rejects(typeFor(files), /policy.json": it is not JSON/);
  });

  test("refuses images when the policy is gone", async () => {
    const files = new PolicyFiles({ path, directory: "" });
    for (const text of [JSON.stringify({ default: [reject] }), scoped, "{"]) {
      writeFileSync(path, text);
      await files.state();
      rmSync(path);
      await assert.rejects(typeFor(files), /policy.json": it is gone; restore the file/);
    }
  });

  test("is as without a policy when one that accepted everything is gone", async () => {
    const files = new PolicyFiles({ path, directory: "" });
    write(path, reject);
    await files.state();
    write(path, accept);
    await files.state();
    rmSync(path);
    assert.equal(await typeFor(files), undefined);
  });

  test("has policies of namespaces, which replace that of all pods", async () => {
    mkdirSync(namespaces);
    write(path, reject);
    write(join(namespaces, "team.json"), accept);
    const files = new PolicyFiles({ path, directory: namespaces });
    assert.equal(await typeFor(files, "team"), "insecureAcceptAnything");
    assert.equal(await typeFor(files, "other"), "reject");
    assert.equal(await typeFor(files, ""), "reject");
    writeFileSync(join(namespaces, "other.json"), "[]");
    await assert.rejects(typeFor(files, "other"), /other.json": it must be an object/);
    assert.equal(await typeFor(files, "team"), "insecureAcceptAnything");
    await assert.rejects(typeFor(files, "../policy"), /"..\/policy": it is not the name of a Kub/);
  });

  test("has another state after a change of a policy or a key", async () => {
    mkdirSync(namespaces);
    const files = new PolicyFiles({ path, directory: namespaces });
    const seen: string[] = [];
    const note = async (): Promise<void> => void seen.push(JSON.stringify(await files.state()));
    const key = join(dir, "a.pub");
    await note();
    write(path, { type: "sigstoreSigned", keyPath: key });
    await note();
    writeFileSync(key, "key");
    await note();
    write(join(namespaces, "team.json"), accept);
    await note();
    writeFileSync(join(namespaces, "team.json"), "not JSON");
    await note();
    rmSync(join(namespaces, "team.json"));
    await note();
    assert.equal(seen[5], seen[2]);
    assert.equal(new Set(seen).size, 5);
    await note();
    assert.equal(seen[6], seen[5]);
    // A key that cannot be reached is the trouble of the policy that names it.
    rmSync(key);
    symlinkSync(key, key);
    await note();
    assert.notEqual(seen[7], seen[6]);
  });
});
