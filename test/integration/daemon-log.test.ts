/** The daemon's log: the lines about a pod, which its name and its ids select. */
import { readFileSync } from "node:fs";
import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import type { LogLine, TestDaemon } from "../support/daemon.ts";
import {
  busybox,
  containerStatus,
  createIn,
  exec,
  exited,
  Node,
  openPod,
  pidOf,
  type Pod,
  remove,
  runIn,
  script,
  start,
  stop,
} from "../support/suites/containers.ts";
import {
  bare,
  code,
  failsWith,
  holderOf,
  launchDaemon,
  leakless,
  leaklessAcross,
  NODE,
  POD,
  pod,
  removePod,
  stopPod,
  until,
} from "../support/suites/pods.ts";

let node: Node;
const served = (): TestDaemon => node.daemon;
const secret = "swordfish-0xA11CE";

before(async () => {
  node = await Node.startWithBusybox({ config: { log: { level: "info" } } });
});
after(() => node[Symbol.asyncDispose]());

/** The lines in which a text stands, as `grep` finds them. */
function grep(text: string): readonly LogLine["fields"][] {
  return served()
    .lines.filter((line) => line.text.includes(text))
    .map(({ fields }) => fields);
}

/** The line with a message among those that name a text. It may come after the answer to the call: the log is a pipe. */
const written = (text: string, message: string): Promise<LogLine["fields"]> =>
  until(`"${message}" of ${text} is in the log`, () =>
    grep(text).find((each) => each["message"] === message),
  );

const messages = (lines: readonly LogLine["fields"][]): readonly unknown[] =>
  lines.map(({ message }) => message);

/** The one line with a message among those of a pod. */
function line(lines: readonly LogLine["fields"][], message: string): LogLine["fields"] {
  const found = lines.filter((each) => each["message"] === message);
  assert.equal(found.length, 1, `${message} in ${JSON.stringify(lines)}`);
  return found[0] ?? {};
}

const nameOf = ({ config }: Pod): string =>
  `${config.metadata?.namespace ?? ""}/${config.metadata?.name ?? ""}`;

describe("the log of the daemon", () => {
  test(
    "describes the life of a pod in eight lines and one per exec, with its name and its id",
    leakless(served, async () => {
      const { daemon } = node;
      const subject = await openPod(daemon, bare());
      const envs = [{ key: "PASSWORD", value: Buffer.from(secret) }];
      const config = script("read line; exit 3", { stdin: true, envs });
      const id = await createIn(subject, config);
      await start(daemon, id);
      await daemon.client.runtime.exec({
        containerId: id,
        cmd: ["sh", "-c", "echo hello"],
        stdout: true,
      });
      // A probe, which is not in the log of a healthy node.
      await exec(daemon, id, ["true"]);
      await stop(daemon, id);
      await stop(daemon, id);
      await stopPod(daemon, subject.id);
      // As kubelet does until the pod is removed: a stop of what has stopped is not in the log.
      await stopPod(daemon, subject.id);
      await remove(daemon, id);
      await removePod(daemon, subject.id);

      await written(subject.id, "RemovePodSandbox");
      const lines = grep(nameOf(subject));
      assert.deepEqual(messages(lines), [
        "RunPodSandbox",
        "CreateContainer",
        "StartContainer",
        "Exec",
        "container ended",
        "StopContainer",
        "StopPodSandbox",
        "RemoveContainer",
        "RemovePodSandbox",
      ]);
      assert.deepEqual(messages(grep(subject.id)), messages(lines));
      assert.deepEqual(
        messages(grep(id)),
        messages(lines)
          .slice(1)
          .filter((m) => !String(m).includes("Sandbox")),
      );
      const whole = {
        pod: nameOf(subject),
        sandbox: subject.id,
        containerName: config.metadata?.name,
        container: id,
        image: busybox,
      };
      for (const message of ["StartContainer", "Exec", "container ended", "RemoveContainer"]) {
        assert.deepEqual({ ...line(lines, message), ...whole }, line(lines, message));
      }
      assert.match(String(line(lines, "StartContainer")["imageId"]), /^sha256:[0-9a-f]{64}$/);
      const { command, tty, peer, peerPid, peerUid } = line(lines, "Exec");
      assert.deepEqual([command, tty], [["sh", "-c", "echo hello"], false]);
      const name = readFileSync("/proc/self/comm", "utf8").trimEnd();
      assert.deepEqual([peer, peerPid, peerUid], [name, process.pid, 0]);
      const { exitCode, reason } = line(lines, "container ended");
      assert.deepEqual([exitCode, reason], [137, "Error"]);
      assert.deepEqual(grep(secret), []);
    }),
  );

  test(
    "tells the story of a night by the pod's name, and by its id",
    leaklessAcross(served, async () => {
      const { daemon } = node;
      const subject = await openPod(daemon, bare());
      const attempt = (count: number): { readonly metadata: object } => ({
        metadata: { name: "app", attempt: count },
      });
      const limited = { linux: { resources: { memoryLimitInBytes: 16n << 20n } } };
      const first = await runIn(subject, script("tail /dev/zero", { ...attempt(0), ...limited }));
      await exited(daemon, first);
      const second = await runIn(subject, script("sleep 300", attempt(1)));
      await daemon.stop();
      await launchDaemon(daemon);
      await daemon.client.runtime.exec({ containerId: second, cmd: ["id"], stdout: true });
      process.kill(await pidOf(daemon, second), "SIGKILL");
      await exited(daemon, second);
      await removePod(daemon, subject.id);

      await written(subject.id, "RemovePodSandbox");
      const attempts = [first, second];
      const story = grep(subject.id).map(({ message, container, exitCode, reason }) => [
        message,
        ...(typeof container === "string" ? [attempts.indexOf(container)] : []),
        ...(exitCode === undefined ? [] : [exitCode, reason]),
      ]);
      assert.deepEqual(story, [
        ["RunPodSandbox"],
        ["CreateContainer", 0],
        ["StartContainer", 0],
        ["container ended", 0, 137, "OOMKilled"],
        ["CreateContainer", 1],
        ["StartContainer", 1],
        ["Exec", 1],
        ["container ended", 1, 137, "Error"],
        ["RemovePodSandbox"],
      ]);
      assert.deepEqual(grep(nameOf(subject)), grep(subject.id));
    }),
  );

  test(
    "says how containers ended: with an exit code, out of memory, or without a start",
    leakless(served, async () => {
      const { daemon } = node;
      const subject = await openPod(daemon, bare());
      const limited = { linux: { resources: { memoryLimitInBytes: 16n << 20n } } };
      for (const [config, exitCode, reason] of [
        [script("exit 3"), 3, "Error"],
        [script("true"), 0, "Completed"],
        [script("tail /dev/zero", limited), 137, "OOMKilled"],
      ] as const) {
        const begin = Date.now();
        const id = await runIn(subject, config);
        await exited(daemon, id);
        const ended = await written(id, "container ended");
        assert.deepEqual([ended["exitCode"], ended["reason"]], [exitCode, reason]);
        const { ranMs } = ended;
        assert.ok(typeof ranMs === "number" && ranMs >= 0 && ranMs <= Date.now() - begin);
      }
      const id = await createIn(subject, script("", { command: ["/no/such/program"] }));
      await assert.rejects(start(daemon, id));
      const failed = await until("the failed start is in the log", () =>
        grep(id).find(({ level }) => level === "warn"),
      );
      assert.match(String(failed["message"]), /^StartContainer failed: .*\/no\/such\/program/);
      assert.equal(failed["pod"], nameOf(subject));
      await removePod(daemon, subject.id);
    }),
  );

  test(
    "says that a sandbox died, and of which pod it was",
    leakless(served, async () => {
      const { daemon } = node;
      const subject = await openPod(daemon, pod({ network: NODE, ipc: NODE, pid: POD }));
      process.kill(await holderOf(daemon, subject.id), "SIGKILL");
      const died = await written(subject.id, "a sandbox died");
      assert.equal(died["pod"], nameOf(subject));
      assert.match(String(died["reason"]), /./);
      await removePod(daemon, subject.id);
    }),
  );

  test("says what was pulled, and refusals with what was asked for", async () => {
    const { daemon } = node;
    await daemon.client.image.pullImage({ image: { image: busybox } });
    const pulled = await written(busybox, "PullImage");
    assert.ok(Number(pulled["bytes"]) > 100_000, JSON.stringify(pulled));
    assert.match(String(pulled["imageId"]), /^sha256:/);
    const auth = { username: "me", password: secret };
    const image = { image: "registry.k8s.io/e2e/none:1" };
    const pullAs = (name: string): Promise<unknown> => {
      const metadata = { name, namespace: "ns", uid: "u", attempt: 0 };
      return daemon.client.image.pullImage({ image, auth, sandboxConfig: { metadata } });
    };
    await assert.rejects(pullAs("web"));
    const failed = await until("the failed pull is in the log", () =>
      grep(image.image).find(({ level }) => level === "warn"),
    );
    assert.match(String(failed["message"]), /^PullImage failed: /);
    assert.equal(failed["pod"], "ns/web");
    await assert.rejects(pullAs("a\u001b[2J\nb\u009b1A"), failsWith(code.invalidArgument));
    assert.ok(served().lines.every(({ text }) => /^[\x20-\x7e]*$/.test(text)));
    assert.deepEqual(grep(secret), []);
  });

  test(
    "says why the daemon stopped, and how containers ended meanwhile",
    leaklessAcross(served, async () => {
      const { daemon } = node;
      const subject = await openPod(daemon, bare());
      const id = await runIn(subject, script("sleep 0.2; exit 5"));
      const from = daemon.lines.length;
      await daemon.stop();
      const said = daemon.lines.slice(from).map(({ fields }) => fields);
      assert.deepEqual(
        messages(said).filter((text) => /^stop/.test(String(text))),
        ["stopping", "stopped"],
      );
      assert.equal(line(said, "stopping")["cause"], "SIGTERM");
      await launchDaemon(daemon);
      const { exitCode } = await exited(daemon, id);
      assert.equal(exitCode, 5);
      assert.equal((await written(id, "container ended"))["pod"], nameOf(subject));
      assert.equal((await containerStatus(daemon, id)).exitCode, 5);
      await removePod(daemon, subject.id);
    }),
  );
});
