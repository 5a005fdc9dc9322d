/**
 * A container that can write to the directory of its log prepares traps for ReopenContainerLog there.
 * Before: a FIFO held a thread of the daemon at each call, until all calls hung; a link had any file of the
 * node truncated.
 */
// variants: shim
import assert from "node:assert/strict";
import { existsSync } from "node:fs";
import path from "node:path";
import { after, before, describe, test } from "node:test";
import { Node, runIn, sh } from "../support/suites/containers.ts";
import { until } from "../support/suites/pods.ts";
import { logAttack, textOf } from "./log-attack.ts";

let node: Node;

before(async () => {
  node = await Node.startWithBusybox();
});
after(() => node[Symbol.asyncDispose]());

const served = (): Node["daemon"] => node.daemon;
/** Names that davit or conmon use, or have used, while they reopen "a.log". */
const names = ["a.log", ".a.log.probe", ".a.log.new", "a.log.tmp"];

/** What a container puts in the place of the name `$n`. */
const obstacles = (canary: string): readonly (readonly [string, string])[] => [
  ["a FIFO", "mkfifo $n"],
  ["a link to a file of the node", `ln -s ${canary} $n`],
  ["a link to where nothing is", `ln -s ${path.dirname(canary)}/empty/made $n`],
];

describe("ReopenContainerLog", () => {
  test(
    "opens no FIFO and no link, changes nothing through them, and does not block",
    logAttack(served, async ({ pod, logs, canary, empty, container }) => {
      const { daemon } = pod;
      const text = "n=0; while :; do n=$((n+1)); echo $n; usleep 1000; done";
      const id = await runIn(pod, container(text, "a.log"));
      const file = path.join(logs, "a.log");
      let rotated = 0;
      for (const [what, make] of obstacles(canary)) {
        for (const name of names) {
          await until("it has written", () => textOf(file) !== "");
          rotated += 1;
          const prepare = `cd /lg && mv a.log a.log.${rotated} && n=${name} && rm -rf $n && ${make}`;
          await sh(daemon, id, prepare);
          // More than libuv's pool has threads.
          const calls = Array.from({ length: 20 }, () =>
            daemon.client.runtime.reopenContainerLog({ containerId: id }),
          );
          await Promise.all(calls);
          assert.equal(await sh(daemon, id, "echo on"), "on", `${what} as ${name}`);
          assert.ok(!existsSync(path.join(empty, "made")), `${what} as ${name}`);
        }
      }
      await until("the container writes to the new log", () => textOf(file) !== "");
      const files = Array.from({ length: rotated }, (_, n) => `${file}.${n + 1}`);
      await daemon.client.runtime.stopContainer({ containerId: id });
      const lines = [...files, file].map(textOf).join("").trimEnd().split("\n");
      assert.deepEqual(
        lines,
        lines.map((_, n) => String(n + 1)),
      );
    }),
  );
});
