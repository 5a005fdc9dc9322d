import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { mkdirSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, test } from "node:test";

import { silentLogger } from "../../../base/logger.ts";
import type { ContainerBundle } from "../../../core/container/index.ts";
import type { PodShim } from "../process/pod-shims.ts";
import { StateLayout } from "../process/state-layout.ts";
import { type PrepareRestore, prepareTaskRestore } from "./restore.ts";

const never = new AbortController().signal;

/** Prepares a restore in a pod whose shim has CRIU's configuration. `make` makes the directory of the restore. */
async function prepare(make: (directory: string) => void, use: (root: string) => void) {
  const root = mkdtempSync(join(tmpdir(), "davit-restore-"));
  const paths = new StateLayout(root);
  const env = { CRIU_CONFIG_FILE: paths.podFile("pod", "criu.conf") };
  const shim = spawn("/bin/sleep", ["60"], { env, stdio: "ignore" });
  const calls: string[] = [];
  const prepareRestore: PrepareRestore = ({ directory }) => {
    make(directory);
    const close = (): Promise<void> => Promise.resolve(void calls.push("close"));
    return Promise.resolve({ close } as unknown as Awaited<ReturnType<PrepareRestore>>);
  };
  const bundle = { id: "c", sandboxId: "pod", handler: {}, spec: {}, cgroupPath: "/c" };
  try {
    const prepared = prepareTaskRestore(
      { paths, log: silentLogger, prepareRestore },
      {
        bundle: bundle as unknown as ContainerBundle,
        restore: { images: "/images", hostname: "h", closeTcp: false },
        shim: { process: { pid: shim.pid, startTime: "0" } } as unknown as PodShim,
      },
      never,
    );
    await prepared.then(() => {
      use(paths.taskFile("c", "restore"));
    });
    return calls;
  } catch (error) {
    return [...calls, String(error)];
  } finally {
    shim.kill("SIGKILL");
    rmSync(root, { recursive: true });
  }
}

describe("prepareTaskRestore()", () => {
  test("writes what the shim does not tell runc", async () => {
    const seen: string[] = [];
    const calls = await prepare(
      (directory) => mkdirSync(directory, { recursive: true }),
      (directory) => seen.push(readFileSync(join(directory, "runc.conf"), "utf8")),
    );
    assert.deepEqual(seen, ["ext-unix-sk\nfile-locks\n"]);
    assert.deepEqual(calls, []);
  });

  test("closes the restore if that fails, as on a full disk", async () => {
    const calls = await prepare(
      () => undefined,
      () => assert.fail(),
    );
    assert.equal(calls.length, 2);
    assert.equal(calls[0], "close");
    assert.match(calls[1] ?? "", /write runc's configuration of CRIU for container "c": .*ENOENT/);
  });
});
