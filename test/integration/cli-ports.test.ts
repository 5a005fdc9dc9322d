/** Host ports that davit run refuses: those of other pods and of processes. */
import assert from "node:assert/strict";
import { once } from "node:events";
import { readdirSync } from "node:fs";
import { createServer } from "node:net";
import process from "node:process";
import { after, before, test } from "node:test";
import { Davit, podOf, sleeper } from "../support/suites/cli.ts";
import { Node } from "../support/suites/containers.ts";
import { until } from "../support/suites/pods.ts";

let node: Node;
let davit: Davit;
before(async () => {
  node = await Node.startWithBusybox();
  davit = new Davit(node.daemon);
});
after(async () => {
  await node[Symbol.asyncDispose]();
});

const free = 18_077;

function withPort(name: string, port: string, more: Parameters<typeof podOf>[2] = {}): string {
  const container = `      ports: [{containerPort: 80, ${port}}]`;
  return podOf(name, sleeper, { container, ...more });
}

/** Runs what must be refused; the message. */
async function refused(yaml: string, ...more: string[]): Promise<string> {
  const { code, err } = await davit.run("run", ...more, davit.manifest(yaml));
  assert.equal(code, 1, err);
  assert.match(err, /host ports are in use, nothing was done:\n {2}pod /);
  return err;
}

test("davit run refuses a host port on which a process listens, and creates nothing", async () => {
  const server = createServer().listen(free, "127.0.0.1");
  await once(server, "listening");
  try {
    const err = await refused(withPort("late", `hostPort: ${free}`));
    const said = new RegExp(
      `pod "default/late", host port ${free}/tcp: in use by process ${process.pid} \\(\\S+\\)\n`,
    );
    assert.match(err, said);
    assert.equal(await davit.done("pods", "-q"), "");
    assert.deepEqual(readdirSync(davit.podsDirectory), []);
    // It is free for another protocol or address.
    for (const port of [
      `hostPort: ${free}, protocol: UDP`,
      `hostPort: ${free}, hostIP: 127.0.0.2`,
    ]) {
      const file = davit.manifest(withPort("other", port));
      await davit.done("run", file);
      await davit.done("down", "-t", "0", file);
    }
  } finally {
    server.close();
  }
});

test("davit run refuses a host port of another pod, but not of one that it replaces", async () => {
  const first = davit.manifest(withPort("first", `hostPort: ${free}`));
  await davit.done("run", first);
  const err = await refused(withPort("second", `hostPort: ${free}, hostIP: 127.0.0.1`));
  assert.match(err, new RegExp(`host port 127.0.0.1:${free}/tcp: in use by pod "default/first"\n`));
  const two = `${withPort("a", "hostPort: 18078")}\n---${withPort("b", "hostPort: 18078")}`;
  assert.match(
    await refused(two),
    /"default\/b", host port .*: also requested by pod "default\/a"/,
  );
  await davit.done("run", "--replace", first);
  assert.equal(
    (await davit.done("pods", "-q")).trim().length,
    64,
    "the refused ones are not there",
  );
  await davit.done("stop", "-t", "0", "first");
  const second = davit.manifest(withPort("second", `hostPort: ${free}`));
  await davit.done("run", second);
  await davit.done("down", "-t", "0", first, second);
});

test("davit run names the pod whose process listens on the host's network", async () => {
  const onHost = podOf("onhost", `exec nc -ll -p ${free} -e cat`, {
    spec: "  hostNetwork: true",
    container: `      ports: [{containerPort: ${free}, hostPort: ${free}}]`,
  });
  const file = davit.manifest(onHost);
  await davit.done("run", file);
  let err = "";
  await until("it listens", async () => {
    const { code, err: said } = await davit.run(
      "run",
      davit.manifest(withPort("x", `hostPort: ${free}`)),
    );
    err = said;
    if (code === 0) await davit.done("down", "-t", "0", "x");
    return code !== 0;
  });
  assert.match(err, /host port 18077\/tcp: in use by process \d+ \(nc\) of pod "default\/onhost"/);
  await davit.done("run", "--replace", file);
  await davit.done("down", "-t", "0", file);
});
