/** Options of davit run IMAGE that the CRI has fields for but a Pod has not, and -d --rm, against a real daemon. */
import assert from "node:assert/strict";
import { existsSync, mkdtempSync, readdirSync, writeFileSync } from "node:fs";
import path from "node:path";
import { after, before, describe, test } from "node:test";
import { Davit, sleeper } from "../support/suites/cli.ts";
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

/** Runs a container in the foreground and removes it. */
function sh(script: string, ...options: string[]) {
  return davit.run("run", "--rm", ...options, busybox, "sh", "-c", script);
}

async function noPodIsLeft(): Promise<void> {
  await until("no pod is left", async () => (await davit.done("pods", "-q")) === "");
}

test("-u takes numbers and names of the image, for user and group", async () => {
  for (const [user, ids] of [
    ["1000", "1000:1000"],
    ["5:6", "5:6"],
    ["app", "1000:1000"],
    ["app:extra", "1000:2000"],
    ["app:7", "1000:7"],
    ["5:extra", "5:2000"],
  ] as const) {
    const { code, out, err } = await sh('echo "$(id -u):$(id -g)"', "-u", user);
    assert.deepEqual([code, out], [0, `${ids}\n`], `${user}: ${err}`);
  }
  const { code, err } = await sh("true", "-u", "nosuchuser");
  assert.equal(code, 125, err);
  assert.match(err, /nosuchuser/);
  const dry = await davit.run("run", "--dry-run", "-u", "app", busybox);
  assert.equal(dry.code, 2);
  assert.match(dry.err, /a Pod has only numbers; "davit run --rm -u app \S+ id" prints them/);
  await noPodIsLeft();
});

test("--ulimit sets limits, which commands in the container have, too", async () => {
  const limits = ["--ulimit", "nofile=100:200", "--ulimit", "core=0"];
  const { out } = await sh("ulimit -S -n; ulimit -H -n; ulimit -c", ...limits);
  assert.equal(out, "100\n200\n0\n");
  const id = (await davit.done("run", "-d", ...limits, busybox, "sh", "-c", sleeper)).trim();
  assert.equal(await davit.done("exec", id, "sh", "-c", "ulimit -n"), "100\n");
  await davit.done("rm", "-f", "-t", "0", id);
});

test("--add-host adds to the hosts file, also in the network of the host", async () => {
  const hosts = [
    "--add-host",
    "db:192.0.2.7",
    "--add-host",
    "six:[2001:db8::1]",
    "--hostname",
    "me",
  ];
  const { out, err } = await sh("cat /etc/hosts; hostname -i", ...hosts);
  assert.match(out, /^127\.0\.0\.1\tlocalhost$/m, err);
  assert.match(out, /^192\.0\.2\.7\tdb$/m);
  assert.match(out, /^2001:db8::1\tsix$/m);
  const [, own = ""] = /^(\S+)\tme$/m.exec(out) ?? [];
  assert.ok(out.endsWith(`\n${own}\n`), out);
  const inHost = await sh(
    "grep -c localhost /etc/hosts; grep db /etc/hosts",
    ...[...["--network", "host", "--add-host", "db:192.0.2.7"]],
  );
  assert.match(inHost.out, /^[1-9]\d*\n192\.0\.2\.7\tdb\n$/);
});

describe("-d --rm", () => {
  const detached = ["run", "-d", "--rm", "--tmpfs", "/t:size=1m"];

  test("removes the pod when its container ends, and the next davit run its directory", async () => {
    const words = ["--name", "going", busybox, "sh", "-c", `echo hello; ${sleeper}`];
    const id = (await davit.done(...detached, ...words)).trim();
    await until("it has a log", async () => (await davit.done("logs", id)) === "hello\n");
    const refused = await davit.run("restart", "going");
    assert.equal(refused.code, 1);
    assert.match(refused.err, /its pod is removed when it ends, by the --rm of davit run/);
    await davit.done("kill", "going");
    await noPodIsLeft();
    assert.equal(readdirSync(davit.podsDirectory).length, 1);
    assert.equal((await sh("true")).code, 0);
    assert.deepEqual(readdirSync(davit.podsDirectory), []);
  });

  test("removes a pod whose container ends while no daemon runs", async () => {
    const files = mkdtempSync(path.join(node.daemon.paths.directory, "files-"));
    const script = "while [ ! -e /files/end ]; do sleep 0.1; done; touch /files/ended";
    await davit.done(...detached, "-v", `${files}:/files`, busybox, "sh", "-c", script);
    await node.daemon.stop();
    writeFileSync(path.join(files, "end"), "");
    await until("it has ended", async () => existsSync(path.join(files, "ended")));
    await node.daemon.restart();
    await noPodIsLeft();
    await davit.done("system", "prune", "-f", "--pods-directory", davit.podsDirectory);
    assert.deepEqual(readdirSync(davit.podsDirectory), []);
  });

  test("keeps the directory of a pod that runs", async () => {
    const id = (await davit.done(...detached, busybox, "sh", "-c", sleeper)).trim();
    assert.equal((await sh("true")).code, 0);
    assert.equal(await davit.done("exec", id, "sh", "-c", "touch /t/x; ls /t"), "x\n");
    await davit.done("rm", "-f", "-t", "0", id);
    assert.deepEqual(readdirSync(davit.podsDirectory), []);
  });
});
