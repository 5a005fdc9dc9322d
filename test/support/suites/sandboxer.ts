/** A daemon with the sandboxer of ../sandboxer.ts, and pods of it. */
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { after, before } from "node:test";
import { create, type DescMessage, type MessageInitShape, toBinary } from "@bufbuild/protobuf";
import type { PodSandboxConfig } from "../../../src/gen/runtime/v1/api_pb.ts";
import type { ConfigTable, TestDaemon } from "../daemon.ts";
import {
  removeSandboxer,
  type SandboxerScript,
  makeSandboxer,
  writeSandboxerScript,
} from "../sandboxer.ts";
import { readProcesses } from "../snapshot/processes.ts";
import { Node, type Pod } from "./containers.ts";
import { pod as podOf, removePod, runPod } from "./pods.ts";

let node: Node;
/** A daemon whose handler "sandboxer" is the sandboxer. */
export let daemon: TestDaemon;
let directory = "";
/** The script of the sandboxer. */
export let file = "";
export const served = (): TestDaemon => daemon;

/** Starts the daemon before the tests of a file, and ends it after. `more`: further keys of the handler. */
export function serveSandboxer(more: ConfigTable = {}): void {
  before(async () => {
    const sandboxer = makeSandboxer();
    ({ directory, file } = sandboxer);
    const handlers = {
      sandboxer: { controller: "shim", runtime_type: sandboxer.program, ...more },
      debian: { controller: "shim", runtime_type: "io.containerd.runc.v2" },
    };
    node = await Node.startWithBusybox({ config: { runtime: { handlers } } });
    daemon = node.daemon;
    const warm = await runPod(daemon, podOf());
    await removePod(daemon, warm);
  });
  after(async () => {
    await node[Symbol.asyncDispose]();
    removeSandboxer(directory);
  });
}

/** A pod of the sandboxer; the script is empty before and after. */
export async function inSandbox(
  config: PodSandboxConfig,
  use: (pod: Pod) => Promise<void>,
): Promise<void> {
  writeSandboxerScript(file, {});
  const id = await runPod(daemon, config, "sandboxer");
  try {
    await use({ daemon, id, config });
  } finally {
    writeSandboxerScript(file, {});
    await removePod(daemon, id);
  }
}

/** Nanoseconds since 1970. */
export const now = (): bigint => BigInt(Date.now()) * 1_000_000n;
/** Replaces the script. */
export const setAnswers = (answers: SandboxerScript): void => writeSandboxerScript(file, answers);

/** The command line of a process; empty for one that has ended meanwhile. */
export function commandOf(pid: number): readonly string[] {
  try {
    return readFileSync(`/proc/${pid}/cmdline`, "utf8").split("\0");
  } catch {
    return [];
  }
}

/** The shim of the pod: the only one that serves its id. */
export function sandboxerOf(id: string): number {
  const found = readProcesses().find(({ pid }) => {
    const words = commandOf(pid);
    return words.includes(id) && words.includes("serve");
  });
  assert.ok(found !== undefined, "there is a sandboxer");
  return found.pid;
}

/** A message as the hex of a scripted answer. */
export const hexOf = <S extends DescMessage>(schema: S, message: MessageInitShape<S>): string =>
  Buffer.from(toBinary(schema, create(schema, message))).toString("hex");
