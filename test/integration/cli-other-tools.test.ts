/** The commands that davit has for those who come from other tools, against a real daemon. */
import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { once } from "node:events";
import { existsSync } from "node:fs";
import { createServer } from "node:net";
import { after, before, describe, test } from "node:test";
import { promisify } from "node:util";
import type { ContainerStatus } from "../../src/gen/runtime/v1/api_pb.ts";
import { podConfig } from "../support/pod.ts";
import { Davit, podOf, program, sleeper } from "../support/suites/cli.ts";
import { busybox, EXITED, Node, RUNNING } from "../support/suites/containers.ts";
import { READY, until } from "../support/suites/pods.ts";

const execute = promisify(execFile);
let node: Node;
let davit: Davit;
before(async () => {
  node = await Node.startWithBusybox();
  davit = new Davit(node.daemon);
});
after(async () => {
  await node[Symbol.asyncDispose]();
});

/** The containers of a pod by attempt, the first one first. */
async function attemptsOf(pod: string): Promise<readonly ContainerStatus[]> {
  const { runtime } = node.daemon.client;
  const { items } = await runtime.listPodSandbox({});
  const podSandboxId = items.find(({ metadata }) => metadata?.name === pod)?.id;
  if (podSandboxId === undefined) return [];
  const { containers } = await runtime.listContainers({ filter: { podSandboxId } });
  const statuses = await Promise.all(
    containers.map(async ({ id }) => (await runtime.containerStatus({ containerId: id })).status),
  );
  return statuses
    .filter((status) => status !== undefined)
    .toSorted((a, b) => (a.metadata?.attempt ?? 0) - (b.metadata?.attempt ?? 0));
}

async function logHas(words: readonly string[], text: string): Promise<void> {
  await until("the log is written", async () => (await davit.done(...words)).includes(text));
}

describe("start, restart and kill", () => {
  test("create the next attempt from the recorded config, with the limits of update", async () => {
    const script = `echo "$WHO runs"; touch /left; ${sleeper}`;
    const container = "      env: [{name: WHO, value: Zoë}]";
    await davit.withPods(podOf("again", script, { container }), async () => {
      await logHas(["logs", "again"], "Zoë runs\n");
      await davit.done("update", "--memory", "48m", "--cpus", "0.5", "again");
      assert.equal(await davit.done("restart", "again"), "again\n");
      await logHas(["logs", "again"], "Zoë runs\n");
      const [first, second, ...more] = await attemptsOf("again");
      assert.ok(first !== undefined && second !== undefined);
      assert.deepEqual([more.length, first.state, second.state], [0, EXITED, RUNNING]);
      assert.deepEqual([first.metadata?.attempt, second.metadata?.attempt], [0, 1]);
      assert.match(second.logPath, /\/main\/1\.log$/);
      const limits = second.resources?.linux;
      assert.deepEqual([limits?.memoryLimitInBytes, limits?.cpuQuota], [50_331_648n, 50_000n]);
      assert.equal(await davit.done("exec", "again", "sh", "-c", "echo $WHO"), "Zoë\n");

      assert.equal(await davit.done("kill", "again/main"), "again/main\n");
      assert.equal((await attemptsOf("again"))[1]?.exitCode, 137);
      const twice = await davit.run("kill", "again");
      assert.deepEqual([twice.code, twice.out], [1, ""]);
      assert.match(twice.err, /kill pod "again": it has no running container/);

      assert.equal(await davit.done("start", "again"), "again\n");
      const attempts = await attemptsOf("again");
      assert.deepEqual(
        attempts.map(({ metadata, state }) => [metadata?.attempt, state]),
        [
          [1, EXITED],
          [2, RUNNING],
        ],
        "only the last attempt is kept",
      );
      await davit.done("start", "again");
      assert.equal((await attemptsOf("again")).at(-1)?.id, attempts.at(-1)?.id, "it runs already");
    });
  });

  test("do not run completed init containers again, and refuse what they cannot restart", async () => {
    const spec = `
  initContainers:
    - {name: first, image: ${busybox}, command: [/bin/sh, -c, "true"]}`;
    await davit.withPods(podOf("two", sleeper, { spec }), async () => {
      await davit.done("restart", "-t", "0", "two");
      assert.deepEqual((await attemptsOf("two")).map(({ metadata }) => metadata?.name).toSorted(), [
        "first",
        "main",
        "main",
      ]);
      await davit.done("stop", "-t", "0", "two");
      const stopped = await davit.run("start", "two/main");
      assert.equal(stopped.code, 1);
      assert.match(stopped.err, /its pod is stopped.*"davit start default\/two"/);
    });
    const { runtime } = node.daemon.client;
    const config = podConfig({
      metadata: { name: "owned", namespace: "default", uid: "owned-1", attempt: 0 },
      annotations: { "kubernetes.io/config.source": "api" },
    });
    const { namespaceOptions } = config.linux?.securityContext ?? {};
    const { podSandboxId } = await runtime.runPodSandbox({ config });
    const { containerId } = await runtime.createContainer({
      podSandboxId,
      sandboxConfig: config,
      config: {
        metadata: { name: "main" },
        image: { image: busybox },
        command: ["/bin/sh", "-c", sleeper],
        linux: {
          securityContext: {
            ...(namespaceOptions && { namespaceOptions }),
          },
        },
      },
    });
    await runtime.startContainer({ containerId });
    const { code, err } = await davit.run("restart", containerId);
    assert.deepEqual([code, (await attemptsOf("owned")).at(-1)?.state], [1, RUNNING], err);
    assert.match(err, /kubelet created it and starts it again/);
    await davit.done("rm", "-f", "-t", "0", podSandboxId);
  });
});

test("start and restart make a stopped pod again, with its volumes, limits and port", async () => {
  const script = `echo "$(cat /v/times 2>/dev/null)again" >/v/times; cat /v/times /etc/hosts; ${sleeper}`;
  const spec = `
  hostAliases: [{ip: 192.0.2.7, hostnames: [db]}]
  volumes: [{name: v, emptyDir: {}}]`;
  const container =
    "      volumeMounts: [{name: v, mountPath: /v}]\n" +
    "      ports: [{containerPort: 80, hostPort: 8098}]";
  await davit.withPods(podOf("stopped", script, { spec, container }), async () => {
    await logHas(["logs", "stopped"], "192.0.2.7\tdb");
    await davit.done("update", "--memory", "48m", "stopped");
    await davit.done("stop", "-t", "0", "stopped");
    assert.equal(await davit.done("start", "stopped"), "stopped\n");
    await logHas(["logs", "stopped"], "againagain\n");
    const { items } = await node.daemon.client.runtime.listPodSandbox({});
    const own = items.filter(({ metadata }) => metadata?.name === "stopped");
    assert.deepEqual(
      own.map(({ metadata, state }) => [metadata?.attempt, state]),
      [[1, READY]],
      "the former pod is removed",
    );
    const [only, ...more] = await attemptsOf("stopped");
    assert.deepEqual([only?.metadata?.attempt, only?.state, more.length], [1, RUNNING, 0]);
    assert.equal(only?.resources?.linux?.memoryLimitInBytes, 50_331_648n);
    const port = await davit.done("port", "stopped");
    assert.match(port, /^10\.[\d.]+\n80\/tcp -> 0\.0\.0\.0:8098\n$/);
    const hosts = await davit.done("exec", "stopped", "cat", "/etc/hosts");
    const [address = ""] = port.split("\n");
    assert.equal(
      hosts
        .split("\n")
        .filter((line) => line.endsWith("\tstopped"))
        .join(),
      `${address}\tstopped`,
    );

    await davit.done("stop", "-t", "0", "stopped");
    assert.equal(await davit.done("restart", "stopped"), "stopped\n");
    await logHas(["logs", "stopped"], "againagainagain\n");
    await davit.done("stop", "-t", "0", "stopped");
    const taken = createServer().listen(8098);
    await once(taken, "listening");
    const refused = await davit.run("start", "stopped");
    taken.close();
    assert.equal(refused.code, 1);
    assert.match(
      refused.err,
      /start pod "default\/stopped": host port 8098\/tcp is in use by process \d+/,
    );
    await davit.done("start", "stopped");
  });
});

test("update refuses limits that are not valid, and containers that have exited", async () => {
  await davit.withPods(podOf("small", sleeper), async () => {
    for (const [words, message] of [
      [["--memory", "12q"], /"12q": must be a size/],
      [["--memory", "0"], /must be a size/],
      [["--cpus", "-1"], /must be a number of CPUs/],
      [[], /no limit is given/],
    ] as const) {
      const { code, err } = await davit.run("update", ...words, "small");
      assert.equal(code, 2, err);
      assert.match(err, message);
    }
    await davit.done("kill", "small");
    const ended = await davit.run("update", "--memory", "64m", "small");
    assert.equal(ended.code, 1);
    assert.match(ended.err, /update resources of container "default\/small\/main": it is exited/);
  });
});

test("top, port, describe and history print what the server and /proc have", async () => {
  const script = `echo hello from it; sleep 300 & ${sleeper}`;
  const container =
    "      ports: [{containerPort: 80, hostPort: 8099}, {containerPort: 53, protocol: UDP}]\n" +
    "      env: [{name: SECRET, value: hidden}]";
  await davit.withPods(podOf("seen", script, { container }), async () => {
    await logHas(["logs", "seen"], "hello from it");
    const processes = await davit.done("top", "seen");
    assert.match(
      processes,
      /^ *UID +PID +PPID +IN POD +STATE +THREADS +MEMORY +CPU TIME +COMMAND\n/,
    );
    assert.match(processes, /sleep 300$/m);
    assert.equal(
      processes.split("\n").filter((line) => / \/bin\/sh -c echo hello/.test(line)).length,
      1,
    );
    const port = await davit.done("port", "seen");
    assert.match(port, /^10\.[\d.]+\n80\/tcp -> 0\.0\.0\.0:8099\n$/);
    const described = await davit.done("describe", "pod", "seen");
    assert.match(described, /^Name: +seen\n/);
    assert.match(described, /^ {2}State: +running$/m);
    assert.match(described, /^ {2}Variables: +SECRET$/m);
    assert.match(described, /^ {2}End of log: +hello from it$/m);
    assert.match(described, /History\n.*pod .*default\/seen/s);
    assert.doesNotMatch(described, /hidden/);
    await davit.done("stop", "-t", "0", "seen");
    assert.match(await davit.done("port", "seen"), /not ready/);
    const none = await davit.run("top", "seen");
    assert.equal(none.code, 1);
    assert.match(none.err, /no container of it is running/);
  });
  assert.match(
    await davit.done("history", busybox),
    /^LAYER +CREATED +CREATED BY +COMMENT\n\w{12}/,
  );
});

test("--debug prints each request, with its time and its failure", async () => {
  const { code, out, err } = await davit.run("ps", "--debug");
  assert.equal(code, 0);
  assert.match(out, /^CONTAINER/);
  assert.match(err, /^debug: runtime\.v1\.RuntimeService\/ListContainers {2}[\d.]+ m?s {2}ok$/m);
});

test("system prune removes only ended pods of davit run and unused images, after a question", async () => {
  const { runtime, image } = node.daemon.client;
  const foreign = podConfig({
    metadata: { name: "foreign", namespace: "default", uid: "foreign-1", attempt: 0 },
  });
  const { podSandboxId } = await runtime.runPodSandbox({ config: foreign });
  await runtime.stopPodSandbox({ podSandboxId });
  const ended = davit.manifest(podOf("ended", "true"));
  await davit.done("run", ended);
  await davit.withPods(podOf("busy", sleeper), async () => {
    await until("it has ended", async () => (await attemptsOf("ended"))[0]?.state === EXITED);
    assert.match(await davit.done("system", "df"), /^containers +2 +1 /m);
    const own = ["--pods-directory", davit.podsDirectory];
    const noTerminal = await davit.run("system", "prune", ...own);
    assert.equal(noTerminal.code, 2);
    assert.match(noTerminal.err, /^davit: [^\n]*nothing removed: use --force\n$/);

    const typed = async (answer: string): Promise<string> => {
      const line = `printf '${answer}\\n' | script -qefc '${program} system prune ${own.join(" ")}' /dev/null`;
      const env = { ...process.env, DAVIT_ENDPOINT: `unix://${node.daemon.paths.socket}` };
      const { stdout } = await execute("sh", ["-c", `${line} || true`], { env });
      return stdout;
    };
    const refused = await typed("n");
    assert.match(refused, / {2}pod default\/ended\r\n(?! {2})/);
    assert.match(refused, /Remove these\? \[y\/N\].*nothing was removed/s);
    assert.equal((await attemptsOf("ended")).length, 1);
    assert.match(await typed("y"), /default\/ended\r\n$/);
    assert.equal((await attemptsOf("ended")).length, 0);
    assert.match((await davit.run("system", "prune", ...own)).err, /nothing to remove/);
    const names = (await runtime.listPodSandbox({})).items.map(({ metadata }) => metadata?.name);
    assert.deepEqual(names.toSorted(), ["busy", "foreign"]);
    assert.equal(await davit.done("image", "prune", "-af"), "", "its image is in use");
  });
  await runtime.removePodSandbox({ podSandboxId });
  assert.match(await davit.done("image", "prune", "-af"), /busybox:1\n/);
  assert.deepEqual((await image.listImages({})).images, []);
  assert.equal(existsSync(davit.podsDirectory), true);
});
