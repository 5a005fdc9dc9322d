/** Pods that the davit command stops and removes: down by name, rm, and the grace period. */
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync, mkdirSync, readdirSync } from "node:fs";
import path from "node:path";
import { after, before, test } from "node:test";
import { Davit, podOf, program, sleeper } from "../support/suites/cli.ts";
import { Node } from "../support/suites/containers.ts";
import { pod as podConfig, runPod } from "../support/suites/pods.ts";

let node: Node;
let davit: Davit;
before(async () => {
  node = await Node.startWithBusybox();
  davit = new Davit(node.daemon);
});
after(async () => {
  await node[Symbol.asyncDispose]();
});

test("davit down takes names, paths, ids and files, and leaves no directory", async () => {
  for (const word of ["one", "default/one"]) {
    await davit.start(["run", "-"], podOf("one", sleeper)).ended;
    assert.equal(await davit.done("down", "-t", "0", word), "default/one\n");
  }
  const ran = await davit.start(["run", "-q", "-"], podOf("one", sleeper)).ended;
  const two = davit.manifest(podOf("two", sleeper));
  await davit.done("run", two);
  const gone = await davit.done("down", "-t", "0", ran.out.trim().slice(0, 12), two);
  assert.deepEqual(gone.split("\n").sort(), ["", "default/one", "default/two"]);
  assert.equal(await davit.done("pods", "-q"), "");
  assert.deepEqual(readdirSync(davit.podsDirectory), []);
});

test("davit down does nothing when one of its arguments does not exist", async () => {
  await davit.done("run", davit.manifest(podOf("there", sleeper)));
  const { code, err } = await davit.run("down", "there", "ther");
  assert.equal(code, 3, err);
  assert.match(
    err,
    /find pod "ther": not found, did you mean "there"\?.*; a file "ther" does not exist either\n$/,
  );
  const missing = await davit.run("down", "no-such.yaml");
  assert.deepEqual([missing.code, /no-such.yaml": no such file/.test(missing.err)], [2, true]);
  assert.match(await davit.done("pods"), / there +ready +1\/1 /);
  await davit.done("down", "-t", "0", "there");
});

test("davit rm leaves no directory of a pod, and touches nothing for names that lead elsewhere", async () => {
  for (const words of [["-f", "-t", "0", "one"], ["one"], ["--stopped"]]) {
    await davit.done("run", davit.manifest(podOf("one", sleeper)));
    assert.equal(readdirSync(davit.podsDirectory).length, 1);
    if (!words.includes("-f")) await davit.done("stop", "-t", "0", "one");
    await davit.done("rm", ...words);
    assert.deepEqual(readdirSync(davit.podsDirectory), [], words.join(" "));
  }
  // Another client may choose any name for a pod.
  const victim = path.join(davit.podsDirectory, "..", "victim_x_y");
  mkdirSync(victim);
  mkdirSync(path.join(davit.podsDirectory, "a"));
  const metadata = { namespace: "a/../../victim", name: "x", uid: "y", attempt: 0 };
  const id = await runPod(node.daemon, podConfig({}, { metadata }));
  await davit.done("rm", "-f", id);
  assert.equal(existsSync(victim), true);
});

test("davit run --replace leaves no directory of a pod that had another uid", async () => {
  const yaml = podOf("one", sleeper);
  await davit.done("run", davit.manifest(yaml.replace("{name: one,", "{name: one, uid: old-one,")));
  await davit.done("run", "--replace", davit.manifest(yaml));
  const names = readdirSync(davit.podsDirectory).filter((name) => name.startsWith("default_one_"));
  assert.equal(names.length, 1);
  assert.doesNotMatch(names[0] ?? "", /old-one/);
  await davit.done("down", "-t", "0", "one");
});

test("davit reports a grace period in progress: once to a pipe, every second on a terminal", async () => {
  const stubborn = podOf("stubborn", "trap '' TERM; while :; do sleep 0.1; done").replace(
    "terminationGracePeriodSeconds: 1",
    "terminationGracePeriodSeconds: 2",
  );
  const file = davit.manifest(stubborn);
  const line = "default/stubborn/main: waiting up to 2 s for it to exit\n";
  await davit.done("run", file);
  const replaced = await davit.run("run", "--replace", file);
  assert.ok(replaced.err.startsWith(line), replaced.err);
  const quiet = await davit.run("run", "--replace", "-q", file);
  assert.deepEqual([quiet.code, quiet.err], [0, ""]);
  const stopped = await davit.run("stop", "stubborn/main");
  assert.deepEqual(stopped, { code: 0, out: "stubborn/main\n", err: line });
  await davit.done("run", "--replace", "-q", file);
  const words = `stty cols 100; '${program}' down --pods-directory '${davit.podsDirectory}' stubborn`;
  const child = spawn("script", ["-qec", words, "/dev/null"], {
    stdio: ["ignore", "pipe", "inherit"],
    env: {
      ...process.env,
      NODE_TEST_CONTEXT: undefined,
      TERM: "xterm",
      DAVIT_ENDPOINT: `unix://${node.daemon.paths.socket}`,
    },
  });
  let seen = "";
  child.stdout.on("data", (chunk: Buffer) => (seen += String(chunk)));
  assert.deepEqual(await once(child, "close"), [0, null], seen);
  for (const seconds of [2, 1]) {
    assert.ok(
      seen.includes(`default/stubborn/main  waiting for it to exit, killed in ${seconds} s`),
      seen,
    );
  }
  assert.match(seen, /\u001b\[J(default\/stubborn\r\n|[^]*\u001b\[Jdefault\/stubborn\r\n)$/);
  const ended = davit.manifest(podOf("quick", sleeper));
  await davit.done("run", ended);
  const quick = await davit.run("down", ended);
  assert.deepEqual(quick, { code: 0, out: "default/quick\n", err: "" }, "that is not worth a line");
});
