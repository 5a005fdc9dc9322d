import assert from "node:assert/strict";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";

import { isKind } from "../../base/errors.ts";
import { type LogFields, silentLogger } from "../../base/logger.ts";
import { openNodePolicies } from "./node-policies.ts";

test("openNodePolicies() warns of a policy.json that may refuse images, with the file and the setting", async (t) => {
  const directory = mkdtempSync(join(tmpdir(), "davit-policies-"));
  t.after(() => rmSync(directory, { recursive: true }));
  const policyJson = join(directory, "policy.json");
  const settings = {
    bindir: "",
    bindirTimeoutSeconds: 1,
    maxVerifiers: 1,
    policyJsonDirectory: "",
  };
  const warningsFor = async (text: string): Promise<readonly [string, LogFields | undefined][]> => {
    const logged: [string, LogFields | undefined][] = [];
    const warn = (message: string, fields?: LogFields): void => void logged.push([message, fields]);
    writeFileSync(policyJson, text);
    await openNodePolicies(
      { ...settings, policyJson },
      {
        log: { ...silentLogger, warn },
        env: {},
        directory,
        checker: { check: () => Promise.reject(new Error("not asked")) },
      },
    );
    return logged;
  };
  assert.deepEqual(await warningsFor('{"default": [{"type": "insecureAcceptAnything"}]}'), []);
  const [strict] = await warningsFor('{"default": [{"type": "reject"}]}');
  assert.match(strict?.[0] ?? "", /must satisfy a policy.json/);
  const { path, setting } = strict?.[1] ?? {};
  assert.deepEqual([path, setting], [policyJson, "images.verification.policy_json"]);
  const [broken] = await warningsFor("{");
  assert.match(broken?.[0] ?? "", /all images are refused/);
  assert.match(String(broken?.[1]?.["error"]), /it is not JSON/);
});

test("openNodePolicies() fails for a policy that is configured and missing", async (t) => {
  const directory = mkdtempSync(join(tmpdir(), "davit-policies-"));
  t.after(() => rmSync(directory, { recursive: true }));
  const none = { bindir: "", bindirTimeoutSeconds: 1, maxVerifiers: 1 };
  const deps = {
    log: silentLogger,
    env: {},
    directory,
    checker: { check: () => Promise.reject(new Error("not asked")) },
  };
  const missing = join(directory, "missing");
  for (const [key, paths] of [
    ["policy_json", { policyJson: missing, policyJsonDirectory: "" }],
    ["policy_json_directory", { policyJson: "", policyJsonDirectory: missing }],
  ] as const) {
    await assert.rejects(openNodePolicies({ ...none, ...paths }, deps), (error) => {
      assert.match(String(error), new RegExp(`missing" of images\\.verification\\.${key}:`));
      return isKind(error, "failed-precondition");
    });
  }
});
