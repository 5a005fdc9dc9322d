/** Helpers for the attacks on logs: pods whose containers can write to their log directory. */
import assert from "node:assert/strict";
import { mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import path from "node:path";
import type { TestDaemon } from "../support/daemon.ts";
import {
  type ContainerInit,
  inPod,
  logLines,
  type Pod,
  script,
} from "../support/suites/containers.ts";
import { bare, leakless } from "../support/suites/pods.ts";

/** Directories on the node, and a pod whose containers have the one of its logs at /lg. */
interface LogAttack {
  readonly pod: Pod;
  /** The pod's log_directory. */
  readonly logs: string;
  /** The directory that holds it. Containers have it at /lgs. */
  readonly above: string;
  /** A file of root's that containers cannot reach. */
  readonly canary: string;
  /** A directory beside it where nothing is. */
  readonly empty: string;
  /** A container that runs a script, with both mounts and a log. */
  readonly container: (text: string, logPath: string) => ContainerInit;
}

const canaryText = "canary\n";

/** The body of a test with such a pod; the node's files must be as they were when it ends. */
export function logAttack(
  daemon: () => TestDaemon,
  run: (attack: LogAttack) => Promise<void>,
): ReturnType<typeof leakless> {
  return leakless(daemon, async () => {
    const directory = path.join(daemon().paths.directory, "attack");
    const above = path.join(directory, "pods");
    const logs = path.join(above, "pod");
    const canary = path.join(directory, "host/canary");
    const empty = path.join(directory, "host/empty");
    for (const each of [logs, empty]) mkdirSync(each, { recursive: true });
    writeFileSync(canary, canaryText, { mode: 0o600 });
    const mounts = [
      { containerPath: "/lg", hostPath: logs },
      { containerPath: "/lgs", hostPath: above },
    ];
    try {
      await inPod(daemon(), bare({ logDirectory: logs }), (pod) =>
        run({
          ...{ pod, logs, above, canary, empty },
          container: (text, logPath) => script(text, { logPath, mounts }),
        }),
      );
      assert.equal(readFileSync(canary, "utf8"), canaryText);
    } finally {
      rmSync(directory, { recursive: true, force: true });
    }
  });
}

/** The output of a container, with the parts of each line joined. */
export function textOf(file: string): string {
  return logLines(file)
    .map(({ tag, text }) => `${text}${tag === "F" ? "\n" : ""}`)
    .join("");
}
