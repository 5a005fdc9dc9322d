/** What fingers know from docker and kubectl: options of ps, pods, logs, exec, stop, rm and rmi. */
import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { NamespaceMode } from "../../src/gen/runtime/v1/api_pb.ts";
import { Davit, podOf as pod, sleeper } from "../support/suites/cli.ts";
import { busybox, Node } from "../support/suites/containers.ts";
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

const two = `
    - name: side
      image: ${busybox}
      command: [/bin/sh, -c, "echo from side; ${sleeper}"]
`;

test("ps and pods take the filters and formats of docker", async () => {
  await davit.withPods(`${pod("one", sleeper)}\n---${pod("two", "sleep 3; exit 3")}`, async () => {
    await until(
      "two has ended",
      async () => (await davit.done("ps", "-q")).split("\n").length === 2,
    );
    assert.match(await davit.done("ps"), / one +main +\S+ +running \d+ s\n/);
    assert.match(await davit.done("ps", "-a"), / two +main +\S+ +exited \(3\) \d+ s ago\b/);
    assert.match(
      await davit.done("ps", "-a", "--filter", "status=exited"),
      /^CONTAINER.*\n.* two /,
    );
    assert.equal(await davit.done("ps", "-q", "--filter", "label=app=none"), "");
    const newest = await davit.done("ps", "-lq");
    assert.equal(await davit.done("ps", "-q", "--last", "1"), newest);
    assert.match(await davit.done("ps", "--no-trunc"), /^CONTAINER +POD.*\n[0-9a-f]{64} /);
    assert.match(await davit.done("pods", "--filter", "name=two", "--format", "json"), /"two"/);
    const bad = await davit.run("ps", "--filter", "status=paused");
    assert.equal(bad.code, 2);
    assert.match(bad.err, /must be one of created, running, exited, unknown/);
    assert.match((await davit.run("ps", "--format", "{{.ID}}")).err, /use -o json and jq/);
  });
});

test("logs, exec and attach take a container of a pod, and kinds before names", async () => {
  const yaml = pod("web", `echo from main; ${sleeper}`, { container: two });
  await davit.withPods(yaml, async () => {
    await until("both have written", async () => {
      const texts = ["main", "side"].map((name) => davit.done("logs", "web", name));
      return (await Promise.all(texts)).join("") === "from main\nfrom side\n";
    });
    assert.equal(await davit.done("logs", "pod/web", "-c", "side"), "from side\n");
    assert.equal(await davit.done("logs", "container/side"), "from side\n");
    assert.equal(
      await davit.done("logs", "-l", "app=web"),
      "[default/web/main] from main\n[default/web/side] from side\n",
    );
    assert.equal((await davit.run("logs", "-l", "app=none")).code, 3);
    assert.equal(await davit.done("logs", "web/main", "--until", "2020-01-01T00:00:00Z"), "");
    assert.match(
      (await davit.run("logs", "web", "none")).err,
      /the pod has (main, side|side, main)/,
    );
    assert.equal(await davit.done("exec", "-c", "side", "pod/web", "echo", "x"), "x\n");
  });
});

test("logs --previous prints the log of the container before", async () => {
  await davit.withPods(pod("again", sleeper), async () => {
    const none = await davit.run("logs", "-p", "again");
    assert.equal(none.code, 3);
    assert.match(none.err, /there is none, it is attempt 0/);
    const { runtime } = node.daemon.client;
    const { items } = await runtime.listPodSandbox({});
    const [sandbox] = items;
    assert.ok(sandbox?.metadata);
    const sandboxConfig = { metadata: sandbox.metadata, logDirectory: node.daemon.paths.directory };
    for (const attempt of [1, 2]) {
      const { containerId } = await runtime.createContainer({
        podSandboxId: sandbox.id,
        sandboxConfig,
        config: {
          metadata: { name: "main", attempt },
          image: { image: busybox },
          command: ["echo", `attempt ${attempt}`],
          logPath: `again-${attempt}.log`,
          linux: { securityContext: { namespaceOptions: { pid: NamespaceMode.CONTAINER } } },
        },
      });
      await runtime.startContainer({ containerId });
    }
    await until("the last one has written", async () => {
      return (await davit.done("logs", "again", "main")) === "attempt 2\n";
    });
    assert.equal(await davit.done("logs", "--previous", "again", "-c", "main"), "attempt 1\n");
  });
});

test("exec sets user, directory and variables", async () => {
  await davit.withPods(pod("exec", sleeper), async () => {
    const script = "id -u; id -g; pwd; echo $A $B";
    const options = ["-u", "12:34", "-w", "/tmp", "-e", "A=x y", "-e", "B=$(A)"];
    const { code, out, err } = await davit.run("exec", ...options, "exec", "sh", "-c", script);
    assert.deepEqual({ code, out, err }, { code: 0, out: "12\n34\n/tmp\nx y $(A)\n", err: "" });
    const failed = await davit.run("exec", "-e", "A=1", "exec", "sh", "-c", "echo e >&2; exit 9");
    assert.deepEqual(failed, { code: 9, out: "", err: "e\n" });
    const input = await davit.start(["exec", "-i", "-e", "A=1", "exec", "cat"], "to the end").ended;
    assert.deepEqual(input, { code: 0, out: "to the end", err: "" });
    assert.equal((await davit.run("exec", "-e", "A=1", "exec", "nosuchprogram")).code, 127);
    assert.equal((await davit.run("exec", "-e", "A=1", "exec", "/etc/passwd")).code, 126);
    assert.equal((await davit.run("exec", "exec", "/etc/passwd")).code, 126);
    const relative = await davit.run("exec", "-w", "tmp", "exec", "pwd");
    assert.equal(relative.code, 2);
    assert.match(relative.err, /must be an absolute path/);
  });
});

test("stop, rm and rmi take all objects", async () => {
  await davit.done("run", davit.manifest(`${pod("a", sleeper)}\n---${pod("b", sleeper)}`));
  assert.equal((await davit.run("stop")).code, 2);
  assert.equal((await davit.run("stop", "-a", "a")).code, 2);
  const refused = await davit.run("rm", "-a");
  assert.equal(refused.code, 1);
  assert.match(refused.err, /it is ready; stop it first, or use --force/);
  const stopped = await davit.done("stop", "-a", "-t", "0");
  assert.deepEqual(stopped.trim().split("\n").sort(), ["default/a", "default/b"]);
  assert.equal((await davit.done("rm", "-a")).trim().split("\n").length, 2);
  await davit.done("run", davit.manifest(pod("c", sleeper)));
  assert.equal(await davit.done("rm", "-af", "-t", "0"), "default/c\n");
  assert.equal(await davit.done("pods", "-q"), "");
  await davit.done("rmi", "-a");
  assert.equal(await davit.done("images", "-q"), "");
});
