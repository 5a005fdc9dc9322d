/** What people type who come from other tools, against a real daemon: each line works, or is answered by what does. */
import assert from "node:assert/strict";
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { chmodSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { text } from "node:stream/consumers";
import { after, before, describe, test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { manPages } from "../../src/cli/command-line/man.ts";
import { findCommand } from "../../src/cli/command-line/parse.ts";
import { commands } from "../../src/cli/commands/index.ts";
import { ContainerState } from "../../src/gen/runtime/v1/api_pb.ts";
import { busyboxLayer, imageOf } from "../support/images.ts";
import { patient } from "../support/patience.ts";
import { Davit, program } from "../support/suites/cli.ts";
import { Node } from "../support/suites/containers.ts";
import { firstHour, type FirstHourLine } from "../support/suites/first-hour.ts";
import { READY, until } from "../support/suites/pods.ts";

const repository = path.resolve(import.meta.dirname, "../..");
const directory = mkdtempSync(path.join(tmpdir(), "davit-first-hour-"));
const names = ["nginx:latest", "alpine:latest", "busybox:latest", "busybox:1.37"] as const;
// A line that hangs ends the others' patience.
const lineMs = 20_000;
let node: Node;
let davit: Davit;

before(async () => {
  node = await Node.startWithBusybox();
  davit = new Davit(node.daemon);
  const image = imageOf([busyboxLayer()], { Cmd: ["/bin/sh"], Env: ["PATH=/bin:/usr/bin"] });
  for (const name of names) {
    const [repository = "", tag = ""] = name.split(":");
    await node.registry.push(`library/${repository}`, image, [tag]);
  }
  prepareDirectory();
  await davit.done("pull", "busybox:latest");
  await davit.done("save", "-o", path.join(directory, "x.tar"), "busybox:latest");
});

after(async () => {
  await davit.run("rm", "-af");
  await node[Symbol.asyncDispose]();
  rmSync(directory, { recursive: true, force: true });
});

/** A directory to type in: davit on the PATH with a directory of pods of the test, examples and man pages. */
function prepareDirectory(): void {
  mkdirSync(path.join(directory, "bin"));
  mkdirSync(path.join(directory, "examples"));
  const example = readFileSync(path.join(repository, "examples/hello.yaml"), "utf8");
  // Its command ignores SIGTERM, and many lines stop it.
  const hasty = example.replace(/(terminationGracePeriodSeconds): 5$/m, "$1: 1");
  assert.notEqual(hasty, example);
  writeFileSync(path.join(directory, "examples/hello.yaml"), hasty);
  const script = `#!/bin/sh
case "$1 $2" in
  "run "* | "rm "* | "rmp "* | "down "*) own=$1; shift; exec ${program} "$own" --pods-directory ${davit.podsDirectory} "$@" ;;
  "kube play" | "play kube" | "apply -f" | "delete pod" | "system prune") exec ${program} "$@" --pods-directory ${davit.podsDirectory} ;;
esac
exec ${program} "$@"
`;
  writeFileSync(path.join(directory, "bin/davit"), script);
  chmodSync(path.join(directory, "bin/davit"), 0o755);
  for (const [name, page] of manPages(commands, { version: "0", date: "2026-01-01" })) {
    mkdirSync(path.join(directory, "man", path.dirname(name)), { recursive: true });
    writeFileSync(path.join(directory, "man", name), page);
  }
}

/** The pod hello and the images as the line needs them. */
async function prepare({ hello = "runs" }: FirstHourLine): Promise<void> {
  const { image } = node.daemon.client;
  for (const name of names) {
    const request = { image: { image: `docker.io/library/${name}` } };
    if ((await image.imageStatus(request)).image === undefined) await image.pullImage(request);
  }
  if (hello === "absent" || hello === "stopped") await davit.run("rm", "-af", "-t", "0");
  if (hello === "absent") return;
  if (!(await helloRuns())) {
    await davit.run("rm", "-f", "-t", "0", "hello");
    await davit.done("run", "-q", path.join(directory, "examples/hello.yaml"));
    await until("hello has a log", async () =>
      (await davit.done("logs", "hello")).includes("hello from hello"),
    );
  }
  if (hello === "restarted") await davit.done("restart", "-t", "0", "hello");
  if (hello === "ended") await davit.done("stop", "-t", "0", "hello/web");
  if (hello === "stopped") await davit.done("stop", "-t", "0", "hello");
}

async function helloRuns(): Promise<boolean> {
  const { runtime } = node.daemon.client;
  const { items } = await runtime.listPodSandbox({});
  const pod = items.find(({ metadata, state }) => metadata?.name === "hello" && state === READY);
  const { containers } = await runtime.listContainers({});
  return containers.some(
    ({ podSandboxId, state }) =>
      podSandboxId === pod?.id && state === ContainerState.CONTAINER_RUNNING,
  );
}

interface Ran {
  readonly code: number | null;
  readonly out: string;
  readonly err: string;
}

/** Types a line, in a terminal if it has keys. */
async function type({ line, keys, during }: FirstHourLine): Promise<Ran> {
  // Ctrl-C must reach davit and not the shell that waits for it.
  const typed = during === "interrupt" ? `exec ${line}` : line;
  const [shell = "", ...words] =
    keys === undefined ? ["bash", "-c", typed] : ["script", "-qefc", typed, "/dev/null"];
  const child = spawn(shell, words, {
    cwd: directory,
    stdio: ["pipe", "pipe", "pipe"],
    detached: true,
    env: {
      ...process.env,
      NODE_TEST_CONTEXT: undefined,
      PATH: `${path.join(directory, "bin")}:${process.env["PATH"] ?? ""}`,
      MANPATH: path.join(directory, "man"),
      SHELL: "/bin/sh",
      MANPAGER: "cat",
      TERM: "dumb",
      DAVIT_ENDPOINT: `unix://${node.daemon.paths.socket}`,
    },
  });
  child.stdin.on("error", () => undefined);
  child.stdin.end(keys ?? "");
  const ended = Promise.all([text(child.stdout), text(child.stderr), once(child, "close")]);
  const timer = setTimeout(() => endGroup(child, "SIGKILL"), patient(lineMs));
  try {
    if (during !== undefined) await disturb(child, during);
    const [out, err, closed] = await ended;
    return { code: closed[0] as number | null, out, err };
  } finally {
    clearTimeout(timer);
    endGroup(child, "SIGKILL");
  }
}

async function disturb(child: ChildProcess, how: "kill" | "interrupt"): Promise<void> {
  // The command has connected by then; where it has not, it finds the container ended.
  await sleep(1_500);
  if (how === "kill") await davit.done("kill", "hello");
  // The group, as the terminal does at Ctrl-C.
  else endGroup(child, "SIGINT");
}

function endGroup({ pid }: ChildProcess, signal: NodeJS.Signals): void {
  try {
    if (pid !== undefined) process.kill(-pid, signal);
  } catch {
    // It has ended.
  }
}

/** The commands that a message names in quotes. */
function namedCommands(message: string): readonly string[][] {
  return [...message.matchAll(/"davit ([^"]+)"/g)].map(([, words = ""]) => words.split(" "));
}

describe("the first hour of somebody who comes from another tool", () => {
  const ends = { works: 0, hint: 0, fails: 0 };

  for (const [at, each] of firstHour.entries()) {
    test(`${at + 1}: ${each.line}`, async () => {
      await prepare(each);
      const { code, out, err } = await type(each);
      const said = `code ${code}\n${out.slice(0, 2_000)}${err}`;
      assert.equal(code, each.code ?? 0, said);
      assert.match(each.end === "works" ? out : err, each.shows, said);
      assert.doesNotMatch(err, /did you mean "(stop|kill|rm|rmi|down|run|system prune)"/);
      if (each.end === "hint") assert.match(err, /^davit: [^\n]+\n$/, "one line");
      for (const words of namedCommands(err)) {
        assert.ok(findCommand(words, commands), `"davit ${words.join(" ")}" does not exist`);
      }
      ends[each.end] += 1;
    });
  }

  test("at least 90 lines work or are answered by a hint", () => {
    assert.equal(firstHour.length, 129);
    assert.ok(ends.works + ends.hint >= 90, JSON.stringify(ends));
  });
});
