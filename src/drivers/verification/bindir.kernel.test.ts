import assert from "node:assert/strict";
import {
  chmodSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, test } from "node:test";

import type { LogFields, Logger } from "../../base/logger.ts";
import { silentLogger } from "../../base/logger.ts";
import { type ImageToVerify, parseReference } from "../../core/image/index.ts";
import { openProcess } from "../../linux/process/index.ts";
import { until } from "../../linux/testing/leaks.ts";
import { BindirVerifier } from "./bindir.ts";

const { signal } = new AbortController();
const digest = `sha256:${"a".repeat(64)}` as const;
const image: ImageToVerify = {
  reference: parseReference("x.test/team/app:1"),
  target: { mediaType: "application/vnd.oci.image.index.v1+json", digest, sizeBytes: 1234n },
  manifest: {
    mediaType: "application/vnd.oci.image.manifest.v1+json",
    digest: `sha256:${"b".repeat(64)}`,
    sizeBytes: 99n,
  },
  namespace: "default",
};
const noSignatures = { signatures: () => Promise.reject(new Error("not asked")) };

let dir: string;
let bin: string;
let logged: { readonly level: string; readonly message: string; readonly fields?: LogFields }[];

beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), "davit-bindir-"));
  bin = join(dir, "bin");
  mkdirSync(bin);
  logged = [];
});
afterEach(() => rmSync(dir, { recursive: true }));

function program(name: string, script: string): void {
  writeFileSync(join(bin, name), `#!/bin/sh\n${script}\n`);
  chmodSync(join(bin, name), 0o755);
}

function open(options: { readonly timeoutMs?: number; readonly maxVerifiers?: number } = {}) {
  const write =
    (level: string) =>
    (message: string, fields?: LogFields): void =>
      void logged.push({ level, message, ...(fields === undefined ? {} : { fields }) });
  const log: Logger = { ...silentLogger, debug: write("debug"), warn: write("warn") };
  return new BindirVerifier({
    directory: bin,
    maxVerifiers: 10,
    timeoutMs: 60_000,
    env: { PATH: "/usr/bin:/bin", HTTPS_PROXY: "http://proxy.test", SECRET: "s3cret" },
    log,
    ...options,
  });
}

const verify = (verifier = open()) => verifier.verify(image, noSignatures, signal);

describe("a verifier program", () => {
  test("gets the name, the digest and the descriptor, as from containerd", async () => {
    program(
      "check",
      `printf '%s\\n' "$@" > ${dir}/args; cat > ${dir}/stdin; env > ${dir}/env; echo " it is fine "`,
    );
    const verdict = await verify();
    assert.equal(verdict.decision, "accepted");
    assert.equal(verdict.reason, "check => it is fine");
    assert.equal(verdict.policy, `bindir "${bin}"`);
    assert.deepEqual(readFileSync(join(dir, "args"), "utf8").trim().split("\n"), [
      "-name",
      "x.test/team/app:1",
      "-digest",
      digest,
      "-stdin-media-type",
      "application/vnd.oci.descriptor.v1+json",
    ]);
    assert.deepEqual(JSON.parse(readFileSync(join(dir, "stdin"), "utf8")), {
      mediaType: "application/vnd.oci.image.index.v1+json",
      digest,
      size: 1234,
    });
    const env = readFileSync(join(dir, "env"), "utf8");
    assert.match(env, /^HTTPS_PROXY=http:\/\/proxy.test$/m);
    assert.doesNotMatch(env, /s3cret/);
  });

  test("rejects by its exit code, with its reason and what to do next", async () => {
    program("10-yes", `echo yes >> ${dir}/runs`);
    program("20-no", `echo no >> ${dir}/runs; echo "not signed by us"; exit 3`);
    program("30-later", `echo later >> ${dir}/runs`);
    const verdict = await verify();
    assert.equal(verdict.decision, "rejected");
    assert.equal(
      verdict.reason,
      `"20-no" rejects ${digest} (exit code 3): not signed by us; sign the image, or change what "${bin}/20-no" accepts`,
    );
    assert.equal(readFileSync(join(dir, "runs"), "utf8"), "yes\nno\n");
  });

  test("that hangs is killed with its children, and rejects", async () => {
    program("hang", `sleep 600 & echo $! > ${dir}/child; wait`);
    await assert.rejects(verify(open({ timeoutMs: 1_000 })), (error: Error & { kind?: string }) => {
      assert.equal(error.kind, "deadline-exceeded");
      assert.match(
        error.message,
        /verify "x.test\/team\/app:1" with ".*\/hang": it did not end within 1 s and was killed/,
      );
      return true;
    });
    const child = Number(readFileSync(join(dir, "child"), "utf8"));
    await until("the child of the program has ended", () => openProcess(child) === undefined);
  });

  test("that writes without end is read to its end and cut", async () => {
    program(
      "chatty",
      "head -c 3000000 /dev/zero | tr '\\0' 'x'; head -c 3000000 /dev/zero | tr '\\0' 'y' >&2",
    );
    const { decision, reason } = await verify();
    assert.equal(decision, "accepted");
    assert.match(reason, /^chatty => x{1024}\.\.\. \(truncated\)$/);
    assert.ok(JSON.stringify(logged).length < 64 * 1024);
  });

  test("that reads nothing, says nothing or writes control characters accepts the image", async () => {
    program("a", "exec <&-");
    program("b", "printf 'a\\033[31m\\nb\\tc'");
    program("c", "echo why >&2");
    assert.equal(
      (await verify()).reason,
      "a => it gives no reason, b => a [31m b c, c => it gives no reason",
    );
    assert.deepEqual(logged, [
      { level: "debug", message: "image verifier", fields: { image_verifier: "c", stderr: "why" } },
    ]);
  });

  test("that dies by a signal rejects", async () => {
    program("dies", "kill -9 $$");
    await assert.rejects(verify(), /with ".*\/dies": it was ended by signal 9/);
  });

  test("that cannot be started rejects", async () => {
    writeFileSync(join(bin, "text"), "not a program");
    await assert.rejects(
      verify(),
      /verify "x.test\/team\/app:1" with ".*\/text": .*permission denied/,
    );
    rmSync(join(bin, "text"));
    symlinkSync("/nonexistent", join(bin, "link"));
    await assert.rejects(verify(), /find the image verifier ".*\/link": no such file/);
  });

  test("that every user can change is not started", async () => {
    program("open", `touch ${dir}/ran`);
    chmodSync(join(bin, "open"), 0o777);
    await assert.rejects(verify(), /every user of this node can change it; run chmod o-w/);
    assert.throws(() => readFileSync(join(dir, "ran")));
  });

  test("is killed when nobody waits for it any more", async () => {
    program("slow", `echo $$ > ${dir}/pid; exec sleep 600`);
    const stop = new AbortController();
    const verified = open().verify(image, noSignatures, stop.signal);
    const file = join(dir, "pid");
    await until("the program runs", () => readIfThere(file).endsWith("\n"));
    const pid = Number(readIfThere(file));
    stop.abort();
    await assert.rejects(verified, { kind: "canceled" });
    await until("the program has ended", () => openProcess(pid) === undefined);
  });
});

describe("the directory", () => {
  test("accepts all images where it is empty or missing, as in containerd, with a warning", async () => {
    const verifier = open();
    assert.equal((await verify(verifier)).decision, "none");
    rmSync(bin, { recursive: true });
    assert.equal((await verify(verifier)).decision, "none");
    assert.deepEqual(
      logged.map(({ level, message }) => [level, message]),
      [["warn", "images are accepted without verification"]],
    );
  });

  test("needs no digest of an image where it is empty or missing, but does where it cannot be read", async () => {
    const verifier = open();
    assert.equal((await verifier.decideByName())?.decision, "none");
    program("a", "true");
    assert.equal(await verifier.decideByName(), undefined);
    rmSync(bin, { recursive: true });
    assert.equal((await verifier.decideByName())?.decision, "none");
    writeFileSync(bin, "");
    assert.equal(await verifier.decideByName(), undefined);
    await assert.rejects(verify(verifier), /ENOTDIR/);
  });

  test("rejects with more programs than are allowed", async () => {
    program("a", "true");
    program("b", "true");
    assert.equal((await verify(open({ maxVerifiers: 2 }))).decision, "accepted");
    await assert.rejects(
      verify(open({ maxVerifiers: 1 })),
      /has 2 programs, more than 1; remove some/,
    );
  });

  test("has another generation after each change", async () => {
    const verifier = open();
    const empty = await verifier.generation();
    program("a", "true");
    const one = await verifier.generation();
    assert.equal(await verifier.generation(), one);
    program("a", "false");
    const changed = await verifier.generation();
    assert.equal(new Set([empty, one, changed]).size, 3);
  });
});

function readIfThere(path: string): string {
  try {
    return readFileSync(path, "utf8");
  } catch {
    return "";
  }
}
