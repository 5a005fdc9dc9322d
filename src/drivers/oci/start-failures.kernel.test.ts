/** Starts that fail. */
// variants: conmon
import type { OciSpec } from "../../core/oci/index.ts";
import assert from "node:assert/strict";
import { chmodSync, mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";

import { isKind } from "../../base/errors.ts";
import { testOperation } from "../../core/operation/testing/operation.ts";
import { holdings, processesOf, TestHost } from "./testing/sandbox.ts";
import { patient } from "../../../test/support/patience.ts";

const host = await TestHost.open();
const runtime = await host.runtime();

// The first start opens descriptors that stay open, such as that of the sealed crun.
before(async () => {
  const { id } = await host.start(runtime, { args: ["true"] });
  await host.end(runtime, id);
});
after(async () => {
  await host[Symbol.asyncDispose]();
});

describe("OciRuntime.start() that fails", () => {
  test("fails with the OCI runtime's message and leaves nothing", async () => {
    const before = holdings();
    for (const [args, message] of [
      [["no-such-command"], /no-such-command.*not found/],
      [["/proc"], /\/proc/],
    ] as const) {
      const bundle = host.bundle({ args });
      await assert.rejects(runtime.start(bundle, testOperation()), message);
      host.assertGone(bundle.id);
    }
    const spec = { ociVersion: 1 } as unknown as OciSpec;
    const broken = { ...host.bundle({ args: ["true"] }), spec };
    await assert.rejects(
      runtime.start(broken, testOperation()),
      /OCI runtime create: .*config\.json/,
    );
    host.assertGone(broken.id);
    const missing = host.bundle({ args: ["true"], runtimePath: "no-such-runtime" });
    await assert.rejects(runtime.start(missing, testOperation()), /no-such-runtime.*install/);
    host.assertGone(missing.id);
    assert.deepEqual(holdings(), before);
  });

  test("fails, naming the obstacle, when the log cannot be written", async () => {
    const before = holdings();
    writeFileSync(join(host.logs, "file"), "");
    mkdirSync(join(host.logs, "directory"));
    for (const [name, message, kind] of [
      ["file/0.log", /open log directory .*file.*not a directory/, "not-found"],
      ["directory", /open log ".*directory": it is a directory/, "failed-precondition"],
    ] as const) {
      const bundle = host.bundle({ args: ["true"], logPath: join(host.logs, name) });
      await assert.rejects(runtime.start(bundle, testOperation()), (error) => {
        return isKind(error, kind) && message.test(String(error));
      });
      host.assertGone(bundle.id);
    }
    assert.deepEqual(holdings(), before);
  });

  test("ends at the caller's deadline, also when the runtime hangs in every verb", async () => {
    const hung = join(host.directory, "hung");
    writeFileSync(hung, "#!/bin/sh\nsleep 1000\n");
    chmodSync(hung, 0o755);
    const before = holdings();
    const bundle = host.bundle({ args: ["true"], runtimePath: hung });
    const begun = performance.now();
    await assert.rejects(runtime.start(bundle, testOperation(AbortSignal.timeout(300))), (error) =>
      isKind(error, "deadline-exceeded"),
    );
    assert.ok(performance.now() - begun < patient(6_000));
    host.assertGone(bundle.id);
    assert.deepEqual(processesOf(hung), []);
    assert.deepEqual(holdings(), before);
  });

  test("undoes a start that is aborted at any moment", async () => {
    const before = holdings();
    for (const ms of [0, 5, 10, 15, 20, 30]) {
      const bundle = host.bundle({ args: ["sleep", "1000"] });
      const caller = new AbortController();
      const starting = runtime.start(bundle, testOperation(caller.signal));
      setTimeout(() => {
        caller.abort(new Error("the caller is gone"));
      }, ms);
      // On a fast machine the start may end before the abort.
      await starting.then(
        () => runtime.remove(bundle.id),
        () => undefined,
      );
      host.assertGone(bundle.id);
    }
    assert.deepEqual(holdings(), before);
  });
});
