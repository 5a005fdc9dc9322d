/** A plain daemon, a daemon with a scripted controller, and helpers that read the statuses of both. */
import assert from "node:assert/strict";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { after, before } from "node:test";
import type { PodSandboxStatus } from "../../../src/gen/runtime/v1/api_pb.ts";
import type { ConfigTable, TestDaemon } from "../daemon.ts";
import { type ControllerScript, writeScript } from "../test-controller.ts";
import {
  endDaemon,
  leakless,
  NOTREADY,
  output,
  pod,
  READY,
  startDaemon,
  statusOf,
  until,
  withPod,
} from "./pods.ts";

/** A handler whose pods the controller "shim" manages. */
export const shimHandler = { kata: { controller: "shim", runtime_type: "/bin/true" } };
/** The keys of the verbose info that tools read. */
export const infoKeys = [
  "pid",
  "processStatus",
  "netNamespaceClosed",
  "image",
  "snapshotKey",
  "snapshotter",
  "runtimeHandler",
  "runtimeType",
  "runtimeOptions",
  "config",
  "runtimeSpec",
  "cniResult",
  "sandboxMetadata",
];

/** The zero time of Go, as nanoseconds since 1970: what a shim without a creation time sends. */
export const zeroTime = "-6795364578871345152";

/** Adds a handler to the default ones; a test removes it. */
export const plainConfig: ConfigTable = { runtime: { handlers: { extra: { path: "crun" } } } };
/** The plain daemon. */
export let plain: TestDaemon;
/** davit with the scripted controller, for pods of the handler "kata". */
export let shim: TestDaemon;
let scriptDirectory: string;
/** The script file of that controller, for {@link writeScript}. */
export let script: string;

/** Starts both before the tests of a file, and ends them after. */
export function serveBoth(): void {
  before(async () => {
    scriptDirectory = mkdtempSync(path.join(tmpdir(), "davit-script-"));
    script = path.join(scriptDirectory, "script.json");
    writeScript(script, {});
    plain = await startDaemon({ config: plainConfig, subnets: ["10.92.0.0/16", "fd00:92::/64"] });
    shim = await startDaemon({
      entry: [path.join(import.meta.dirname, "../test-controller-daemon.ts")],
      env: { DAVIT_TEST_CONTROLLER: script },
      config: { runtime: { handlers: shimHandler } },
    });
    await withPod(plain, pod(), async () => undefined);
  });
  after(async () => {
    writeScript(script, {});
    await endDaemon(shim);
    await endDaemon(plain);
    rmSync(scriptDirectory, { recursive: true });
  });
}

// These exist only while the tests run.
export const ofPlain = (): TestDaemon => plain;
export const ofShim = (): TestDaemon => shim;

/** Runs a pod of the scripted controller, changes the script, and calls `check`. */
export function scripted(
  change: ControllerScript,
  check: (id: string, begun: PodSandboxStatus) => Promise<void>,
): (t: Parameters<ReturnType<typeof leakless>>[0]) => Promise<void> {
  return leakless(ofShim, () =>
    withPod(
      shim,
      pod(),
      async (id) => {
        const begun = await statusOf(shim, id);
        assert.equal(begun.state, READY);
        try {
          writeScript(script, change);
          await check(id, begun);
        } finally {
          writeScript(script, {});
        }
      },
      "kata",
    ),
  );
}

/** Checks the fields that every branch keeps for any answer of the controller. */
export function checkKept(status: PodSandboxStatus, begun: PodSandboxStatus): void {
  assert.deepEqual({ ...status, state: begun.state }, begun);
}

/** Unmounts a path in the daemon's mount namespace without its knowledge. */
export async function unmountByHand(daemon: TestDaemon, target: string): Promise<void> {
  await output("nsenter", `--mount=/proc/${daemon.pid}/ns/mnt`, "umount", target);
}

/** The status as soon as it says NOTREADY, which must be within 2 s. */
export async function untilNotReady(daemon: TestDaemon, id: string): Promise<PodSandboxStatus> {
  return until(
    "the sandbox is NOTREADY",
    async () => {
      const status = await statusOf(daemon, id);
      return status.state === NOTREADY && status;
    },
    2000,
  );
}
