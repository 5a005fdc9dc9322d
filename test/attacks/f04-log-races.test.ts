/**
 * The attacks of f03 and f04 as a race: a container replaces every name with links and FIFOs over and over while
 * logs are opened and reopened. A change between the check and the use of a path must not help it.
 */
import assert from "node:assert/strict";
import { existsSync, readdirSync, renameSync } from "node:fs";
import path from "node:path";
import { after, before, describe, test } from "node:test";
import { GrpcStatusError } from "../../src/wire/grpc/status.ts";
import { createIn, Node, remove, runIn, start, stop } from "../support/suites/containers.ts";
import { code, until } from "../support/suites/pods.ts";
import { logAttack, textOf } from "./log-attack.ts";

let node: Node;

before(async () => {
  node = await Node.startWithBusybox();
});
after(() => node[Symbol.asyncDispose]());

const rounds = 60;
/** What davit may say of a name that is taken from it. */
const refusals: readonly number[] = [code.failedPrecondition, code.alreadyExists, code.notFound];

/** Swaps these names in /lg until the container is stopped. */
function swapping(names: readonly string[], canary: string): string {
  const links = names.map((name) => `ln -sf ${canary} ${name}`);
  const fifos = names.map((name) => `rm -f ${name}; mkfifo ${name}`);
  return `cd /lg; while :; do { ${[...links, ...fifos].join("; ")}; } 2>/dev/null; done`;
}

/** Carries the call out; true when it worked, false when it was refused. */
async function allowed(call: Promise<unknown>): Promise<boolean> {
  try {
    await call;
    return true;
  } catch (error) {
    assert.ok(error instanceof GrpcStatusError && refusals.includes(error.code), String(error));
    return false;
  }
}

describe("names that change constantly", () => {
  test(
    "neither lead a reopened log elsewhere nor end the container's logging",
    logAttack(
      () => node.daemon,
      async ({ pod, logs, canary, container }) => {
        const { daemon } = pod;
        const text = "n=0; while :; do n=$((n+1)); echo $n; usleep 1000; done";
        const victim = await runIn(pod, container(text, "a.log"));
        const file = path.join(logs, "a.log");
        const names = [".a.log.new", "a.log.tmp", ".a.log.probe"];
        const attacker = await runIn(pod, container(swapping(names, canary), "attacker.log"));
        const reopen = (): Promise<unknown> =>
          daemon.client.runtime.reopenContainerLog({ containerId: victim });
        await until("it swaps", () => names.some((name) => existsSync(path.join(logs, name))));
        for (let round = 0; round < rounds; round++) {
          if (existsSync(file)) renameSync(file, `${file}.old`);
          await allowed(reopen());
        }
        await stop(daemon, attacker);
        if (existsSync(file)) renameSync(file, `${file}.old`);
        await reopen();
        await until("the container writes to the new log", () => textOf(file) !== "");
      },
    ),
  );

  test(
    "do not lead the log of a container that starts elsewhere",
    logAttack(
      () => node.daemon,
      async ({ pod, logs, canary, empty, container }) => {
        const { daemon } = pod;
        const names = ["a.log"];
        await runIn(pod, container(swapping(names, canary), "attacker.log"));
        await runIn(pod, container(swapping(names, path.join(empty, "made")), "another.log"));
        await until("they swap", () => existsSync(path.join(logs, "a.log")));
        for (let round = 0; round < rounds / 2; round++) {
          const victim = await createIn(pod, container("echo payload", "a.log"));
          await allowed(start(daemon, victim));
          await remove(daemon, victim);
        }
        assert.deepEqual(readdirSync(empty), []);
      },
    ),
  );
});
