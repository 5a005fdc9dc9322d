/** davit events and davit wait with a real daemon. */
import assert from "node:assert/strict";
import type { ChildProcess } from "node:child_process";
import { after, before, describe, test } from "node:test";
import { Davit, podOf, type Running, sleeper } from "../support/suites/cli.ts";
import { Node } from "../support/suites/containers.ts";
import { launchDaemon, until } from "../support/suites/pods.ts";

let node: Node;
let davit: Davit;
before(async () => {
  node = await Node.startWithBusybox();
  davit = new Davit(node.daemon);
});
after(async () => {
  // Those of failed tests would keep this process running.
  for (const child of children) child.kill("SIGKILL");
  await node[Symbol.asyncDispose]();
});

const children: ChildProcess[] = [];

/** Starts a davit command that may not end by itself. */
function start(...args: string[]): Running {
  const running = davit.start(args);
  children.push(running.child);
  return running;
}

/** What a process has written so far. */
function outputOf(child: ChildProcess): { readonly out: () => string; readonly err: () => string } {
  let [out, err] = ["", ""];
  child.stdout?.on("data", (chunk: Buffer) => (out += String(chunk)));
  child.stderr?.on("data", (chunk: Buffer) => (err += String(chunk)));
  return { out: () => out, err: () => err };
}

/** Runs a pod of one script, and removes it after `use`. */
async function withPod(name: string, script: string, use: () => Promise<void>): Promise<void> {
  const file = davit.manifest(podOf(name, script));
  await davit.done("run", file);
  try {
    await use();
  } finally {
    await davit.done("down", file);
  }
}

/** Starts davit events, and waits until it watches. */
async function watching(...args: string[]): Promise<Running & ReturnType<typeof outputOf>> {
  const running = start("events", ...args);
  const output = outputOf(running.child);
  await until("it watches", () => output.err().includes("davit: watching events\n"));
  return { ...running, ...output };
}

const time = String.raw`\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{3}`;

describe("davit events", () => {
  test("prints a line for each event, until Ctrl-C", async () => {
    const { child, ended, out } = await watching("-f");
    await withPod("failing", "sleep 1; exit 3", async () => {
      await until("its end is printed", () => out().includes("code 3"));
    });
    await until("its removal is printed", () => /deleted {2}default\/failing {2}/.test(out()));
    child.kill("SIGINT");
    const { code, err } = await ended;
    assert.equal(code, 130, err);
    const lines = out().trimEnd().split("\n");
    const image = "registry.k8s.io/e2e/busybox:1";
    const want = [
      `created  default/failing  \\(pod\\)`,
      `started  default/failing  \\(pod\\)`,
      `created  default/failing/main  ${image}`,
      `started  default/failing/main  ${image}`,
      `stopped  default/failing/main  ${image}  code 3  Error`,
      `stopped  default/failing  \\(pod\\)`,
      `deleted  default/failing/main  ${image}`,
      `deleted  default/failing  \\(pod\\)`,
    ];
    assert.equal(lines.length, want.length, out());
    for (const [at, line] of lines.entries()) {
      assert.match(line, new RegExp(`^${time}  ${want[at] ?? ""}$`));
    }
  });

  test("prints only what is asked for, as JSON lines", async () => {
    const { child, out } = await watching("-o", "json", "--event", "stopped", "wanted/main");
    await withPod("other", "exit 0", () => Promise.resolve());
    await withPod("wanted", "sleep 1; exit 2", async () => {
      await until("its end is printed", () => out().endsWith("\n"));
    });
    child.kill("SIGINT");
    const [line = "", ...more] = out().trimEnd().split("\n");
    assert.deepEqual(more, []);
    const event = JSON.parse(line) as {
      readonly containerEventType: string;
      readonly podSandboxStatus: { readonly metadata: { readonly name: string } };
    };
    assert.equal(event.containerEventType, "CONTAINER_STOPPED_EVENT");
    assert.equal(event.podSandboxStatus.metadata.name, "wanted");
  });

  test("connects again after a restart of davit, and says that events are missing", async () => {
    const { child, out, err } = await watching("again");
    await node.daemon.stop();
    await launchDaemon(node.daemon);
    await until("it watches again", () =>
      err().includes("davit: watching events again; some are missing\n"),
    );
    await withPod("again", "exit 0", async () => {
      await until("its end is printed", () => out().includes("code 0  Completed"));
    });
    child.kill("SIGINT");
  });
});

describe("davit wait", () => {
  test("prints the exit codes of containers that end, and of those that have ended", async () => {
    await withPod("job", "sleep 1; exit 5", async () => {
      assert.equal(await davit.done("wait", "job/main"), "5\n");
      assert.equal(await davit.done("wait", "job/main"), "5\n");
      assert.equal(await davit.done("wait", "job"), "5 default/job/main\n");
    });
  });

  test("prints the exit code of a container that is removed at once", async () => {
    const file = davit.manifest(podOf("removed", sleeper));
    await davit.done("run", file);
    const from = node.daemon.lines.length;
    const container = start("wait", "removed/main");
    const pod = start("wait", "removed");
    await until("both wait", () => hasLooked(from, 2));
    await davit.done("down", file);
    assert.deepEqual(await container.ended, { code: 0, out: "0\n", err: "" });
    assert.deepEqual(await pod.ended, { code: 0, out: "0 default/removed/main\n", err: "" });
  });

  test("waits until a pod is ready, runs, and is removed", async () => {
    const file = davit.manifest(podOf("life", sleeper));
    await davit.done("run", file);
    await davit.done("wait", "--for", "ready", "life");
    await davit.done("wait", "--for", "running", "life", "life/main");
    const { ended } = start("wait", "--for", "removed", "life", "no-such-pod");
    await davit.done("down", file);
    assert.deepEqual(await ended, { code: 0, out: "", err: "" });
    await davit.done("wait", "--for", "removed", "life");
    const { code, err } = await davit.run("wait", "--for", "running", "life");
    assert.equal(code, 3, err);
  });

  test("ends with 124 at its timeout, and with 1 if the condition cannot hold any more", async () => {
    await withPod("steady", sleeper, async () => {
      const late = await davit.run("wait", "--timeout", "200ms", "steady/main");
      assert.equal(late.code, 124);
      assert.match(
        late.err,
        /wait for container "default\/steady\/main" to end: timeout after 200ms/,
      );
      const running = start("wait", "--for", "running", "steady/main");
      assert.equal((await running.ended).code, 0);
      await davit.done("stop", "-t", "0", "steady/main");
      const over = await davit.run("wait", "--for", "running", "steady/main");
      assert.equal(over.code, 1);
      assert.match(over.err, /wait for container "default\/steady\/main" to run: it has exited/);
    });
  });

  test("continues across a restart of davit", async () => {
    await withPod("patient", "trap 'exit 4' TERM; while :; do sleep 0.1; done", async () => {
      const from = node.daemon.lines.length;
      const { child, ended } = start("wait", "patient/main");
      const { err } = outputOf(child);
      await until("it waits", () => hasLooked(from));
      await node.daemon.stop();
      await until("it has noticed", () => err().includes("waiting for the server"));
      await launchDaemon(node.daemon);
      await davit.done("stop", "-t", "5", "patient/main");
      const { code, out } = await ended;
      assert.deepEqual([code, out], [0, "4\n"]);
    });
  });

  test("is interrupted by Ctrl-C with 130", async () => {
    await withPod("forever", sleeper, async () => {
      const from = node.daemon.lines.length;
      const { child, ended } = start("wait", "forever");
      await until("it waits", () => hasLooked(from));
      child.kill("SIGINT");
      const { code, err } = await ended;
      assert.deepEqual([code, err], [130, "davit: interrupted\n"]);
    });
  });
});

/** Whether `count` davit wait have listed for their operands, at their begin, and when their stream was open. */
function hasLooked(from: number, count = 1): boolean {
  const lists = node.daemon.lines
    .slice(from)
    .filter(({ fields }) => fields["message"] === "ListContainers");
  return lists.length >= 3 * count;
}
