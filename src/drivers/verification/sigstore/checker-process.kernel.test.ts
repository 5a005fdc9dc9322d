import assert from "node:assert/strict";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";
import { isKind } from "../../../base/errors.ts";
import type { FoundSignature } from "../../../core/image/index.ts";
import { certificatePem, ecKeys, pemOf } from "../../../verify/testing/der.ts";
import {
  noTrust,
  simplePayload,
  simpleSignature,
  statementBundle,
  TestFulcio,
  TestRekor,
} from "../../../verify/testing/signing.ts";
import { CheckerProcess } from "./checker-process.ts";

const base = mkdtempSync(join(tmpdir(), "davit-checker-"));
after(() => rmSync(base, { recursive: true }));
const never = new AbortController().signal;
const digest = `sha256:${"a".repeat(64)}` as const;

function simple(made: ReturnType<typeof simpleSignature>, payload: Buffer): FoundSignature {
  const { signatureBytes: _bytes, ...rest } = made;
  return { ...rest, of: digest, digest, payload };
}

test("the process checks signatures of keys and of identities", async () => {
  const checker = new CheckerProcess();
  const keys = ecKeys();
  const payload = simplePayload(digest, "registry.test/app");
  const trust = { ...noTrust, keys: [{ name: "k", text: pemOf(keys) }] };
  const good = simple(simpleSignature(payload, keys.privateKey), payload);
  const bad = simple(simpleSignature(payload, ecKeys().privateKey), payload);
  const json = statementBundle(digest, { key: keys.privateKey });
  const bundle: FoundSignature = { kind: "bundle", of: digest, digest, json };
  const signatures = [good, bad, bundle];
  const results = await checker.check({ digests: [digest], trust, signatures }, never);
  assert.deepEqual(
    results.map(({ valid }) => valid),
    [true, false, true],
  );

  const [fulcio, rekor] = [new TestFulcio(), new TestRekor()];
  const { keys: own, der } = fulcio.leaf();
  const made = simpleSignature(payload, own.privateKey, { certificate: certificatePem(der) });
  const annotation = rekor.annotation(payload, made.signatureBytes);
  const keyless = {
    ...noTrust,
    identities: [
      {
        issuer: "https://issuer.test",
        subject: "https://git.test/team/app/release@main",
        subjectRegexp: "",
      },
    ],
    fulcioRoots: [{ name: "f", text: fulcio.chainPem }],
    rekorKeys: [{ name: "r", text: rekor.pem }],
  };
  const logged = { ...simple(made, payload), rekorBundle: annotation };
  const asked = { digests: [digest], trust: keyless, signatures: [logged] };
  const [result] = await checker.check(asked, never);
  assert.equal(result?.reason, "");
  // The time limit of patterns needs a thread, which the confinement allows.
  const of = { issuer: "https://issuer.test", subject: "" };
  for (const [subjectRegexp, reason] of [
    ["https://git\\.test/.*", /^$/],
    ["https://(.+)+!", /takes more than 250 ms/],
  ] as const) {
    const identities = [{ ...of, subjectRegexp }];
    const [byPattern] = await checker.check({ ...asked, trust: { ...keyless, identities } }, never);
    assert.match(byPattern?.reason ?? "none", reason);
  }
});

test("trust that cannot be read is an error that names its file", async () => {
  const checker = new CheckerProcess();
  const trust = { ...noTrust, keys: [{ name: "/etc/k.pub", text: "no key" }] };
  await assert.rejects(checker.check({ digests: [], trust, signatures: [] }, never), (error) => {
    assert.match(String(error), /read "\/etc\/k\.pub"/);
    return isKind(error, "failed-precondition");
  });
});

/** A checker whose process is another program. */
function instead(code: string, timeoutMs: number): CheckerProcess {
  const file = join(base, "instead.cjs");
  writeFileSync(file, code);
  const command = { file: process.execPath, args: [file] };
  return new CheckerProcess({ command, timeoutMs });
}

test("a process that hangs, dies or answers nonsense is an error, and ends", async () => {
  const ask = { digests: [], trust: noTrust, signatures: [] };
  for (const [code, timeoutMs, kind, words] of [
    ["setInterval(() => {}, 1e6)", 500, "deadline-exceeded", /within 0\.5 s/],
    [
      "process.stderr.write('out of luck'); process.exitCode = 3",
      60_000,
      "internal",
      /code 3: out/,
    ],
    ["process.abort()", 60_000, "internal", /signal 6/],
    ["process.stdout.write('{')", 60_000, "internal", /cannot be read/],
    ["process.stdout.write('{\"results\":[{}]}')", 60_000, "internal", /for all/],
  ] as const) {
    await assert.rejects(instead(code, timeoutMs).check(ask, never), (error) => {
      assert.match(String(error), words);
      return isKind(error, kind);
    });
  }
  const caller = new AbortController();
  const asked = instead("setInterval(() => {}, 1e6)", 60_000).check(ask, caller.signal);
  caller.abort(new Error("the caller left"));
  await assert.rejects(asked, /the caller left/);
});
