/** davit exec -it, attach, port-forward and cp in a terminal and in a script. */
import assert from "node:assert/strict";
import { execFileSync, spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { connect } from "node:net";
import path from "node:path";
import { text } from "node:stream/consumers";
import { after, before, test } from "node:test";
import { Davit, program } from "../support/suites/cli.ts";
import { inPod, Node, runIn, script, sh } from "../support/suites/containers.ts";
import { bare, until } from "../support/suites/pods.ts";

let node: Node;
let davit: Davit;
before(async () => {
  node = await Node.startWithBusybox();
  davit = new Davit(node.daemon);
});
after(async () => {
  await node[Symbol.asyncDispose]();
});

/** A command in a pseudo-terminal (script(1)) of 100 columns and 30 rows; `seen` is what came so far. */
function inTerminal(words: readonly string[]) {
  const quoted = [program, ...words].map((word) => `'${word}'`).join(" ");
  const child = spawn("script", ["-qec", `stty cols 100 rows 30; ${quoted}`, "/dev/null"], {
    stdio: ["pipe", "pipe", "inherit"],
    env: {
      ...process.env,
      NODE_TEST_CONTEXT: undefined,
      TERM: "xterm",
      DAVIT_ENDPOINT: `unix://${node.daemon.paths.socket}`,
    },
  });
  const seen = { text: "" };
  child.stdout.on("data", (chunk: Buffer) => (seen.text += String(chunk)));
  return { child, seen, ended: once(child, "close") as Promise<[number]> };
}

test("davit exec -it opens a terminal of the caller's size, and passes all keys and the exit code", () =>
  inPod(node.daemon, bare(), async (pod) => {
    const id = await runIn(pod);
    const { child, seen, ended } = inTerminal(["exec", "-it", id, "sh"]);
    child.stdin.write("echo size=$(stty size)\n");
    await until("it has the size", () => seen.text.includes("size=30 100"));
    child.stdin.write("echo g$((1))o; sleep 1000\n");
    await until("it sleeps", () => seen.text.includes("g1o"));
    child.stdin.write("\u0003");
    child.stdin.write("exit 6\n");
    assert.deepEqual(await ended, [6, null], seen.text);
    const away = inTerminal(["exec", "-it", id, "sh"]);
    away.child.stdin.write("echo a$((1))b\n");
    await until("it runs", () => away.seen.text.includes("a1b"));
    away.child.stdin.write("\u0010\u0011");
    assert.deepEqual(await away.ended, [0, null]);
  }));

test("davit exec -i passes the streams of a script, and -t works without a terminal", () =>
  inPod(node.daemon, bare(), async (pod) => {
    const id = await runIn(pod);
    const big = "x".repeat(3_000_000);
    const copied = await davit.start(["exec", "-i", id, "cat"], big).ended;
    assert.deepEqual([copied.code, copied.out === big, copied.err], [0, true, ""]);
    const failed = await davit.run("exec", "-i", id, "sh", "-c", "echo out; echo err >&2; exit 9");
    assert.deepEqual([failed.code, failed.out, failed.err], [9, "out\n", "err\n"]);
    const tty = await davit.run("exec", "-t", id, "sh", "-c", "test -t 1 && echo tty");
    assert.deepEqual([tty.code, tty.out], [0, "tty\r\n"]);
    const none = await davit.run("exec", "-i", id, "/no/such");
    assert.equal(none.code, 127, none.err);
    assert.match(none.err, /\/no\/such/);
  }));

test("davit attach joins a container, and detaching ends nothing", () =>
  inPod(node.daemon, bare(), async (pod) => {
    const loop = "while read line; do echo got $line; done";
    const id = await runIn(pod, script(loop, { stdin: true, tty: true }));
    const one = inTerminal(["attach", "-it", id]);
    one.child.stdin.write("hello\n");
    await until("it answers", () => one.seen.text.includes("got hello"));
    one.child.stdin.write("\u0010\u0011");
    assert.deepEqual(await one.ended, [0, null]);
    const two = inTerminal(["attach", "-it", id]);
    two.child.stdin.write("again\n");
    await until("it answers", () => two.seen.text.includes("got again"));
    two.child.stdin.write("\u0004");
    assert.deepEqual(await two.ended, [0, null], "it ends with the container");
  }));

test("davit port-forward reaches a port of a pod, and says why it cannot", () =>
  inPod(node.daemon, bare(), async (pod) => {
    const id = await runIn(pod, script("while :; do nc -l -p 4998 -e cat; done"));
    await until("it listens", async () =>
      (await sh(node.daemon, id, "netstat -ltn")).includes(":4998"),
    );
    const { child, ended } = davit.start(["port-forward", pod.id, ":4998", ":4997"]);
    let said = "";
    child.stdout?.on("data", (chunk: Buffer) => (said += String(chunk)));
    await until("it listens", () => said.split("\n").length === 3);
    const [good = 0, bad = 0] = [...said.matchAll(/127\.0\.0\.1:(\d+)/g)].map(([, port]) =>
      Number(port),
    );
    const talk = (port: number, words: string): Promise<string> => {
      const socket = connect(port, "127.0.0.1");
      socket.end(words);
      return text(socket);
    };
    await until("it answers", async () => (await talk(good, "hello")) === "hello");
    assert.equal(await talk(bad, "hello").catch(() => ""), "");
    child.kill("SIGINT");
    const { code, err } = await ended;
    assert.equal(code, 130);
    assert.match(err, /port 4997: .*refused/);
    assert.equal((await davit.run("port-forward", pod.id, "99999")).code, 2);
  }));

test("davit cp copies in both directions, and says what it cannot copy", () =>
  inPod(node.daemon, bare(), async (pod) => {
    const id = await runIn(pod);
    const directory = path.join(node.daemon.paths.directory, "copies");
    mkdirSync(path.join(directory, "in/deep"), { recursive: true });
    writeFileSync(path.join(directory, "in/deep/file"), "x".repeat(3_000_000));
    await davit.done("cp", path.join(directory, "in"), `${id}:/tmp`);
    await davit.done("cp", path.join(directory, "in/deep/file"), `${id}:/tmp/renamed`);
    assert.equal(
      await sh(node.daemon, id, "cat /tmp/in/deep/file /tmp/renamed | wc -c"),
      "6000000",
    );
    await sh(
      node.daemon,
      id,
      "ln -s /etc /tmp/in/link; mkfifo /tmp/in/fifo \"/tmp/in/$(printf 'f\\033[2Jo')\"",
    );
    const copied = await davit.run("cp", `${id}:/tmp/in`, directory.concat("/out"));
    assert.equal(copied.code, 0, copied.err);
    assert.match(copied.err, /skipped .*in\/link/);
    assert.match(copied.err, /skipped .*in\/f\?\[2Jo: not/);
    assert.equal(readFileSync(path.join(directory, "out/deep/file"), "utf8").length, 3_000_000);
    assert.equal(existsSync(path.join(directory, "out/link")), false);
    const missing = await davit.run("cp", `${id}:/no/such`, directory);
    assert.deepEqual([missing.code, /No such file/i.test(missing.err)], [1, true], missing.err);
    assert.equal((await davit.run("cp", "a", "b")).code, 2);
    assert.equal((await davit.run("cp", "/no/such", `${id}:/tmp`)).code, 1);
    const nowhere = await davit.run("cp", path.join(directory, "in"), `${id}:/no/such/directory`);
    assert.equal(nowhere.code, 1, nowhere.err);
  }));

test("davit cp streams a tar archive to stdout and takes one from stdin", () =>
  inPod(node.daemon, bare(), async (pod) => {
    const id = await runIn(pod);
    await sh(node.daemon, id, "mkdir -p /tmp/a/b; echo one >/tmp/a/b/f; ln -s f /tmp/a/b/link");
    const directory = path.join(node.daemon.paths.directory, "archive");
    mkdirSync(directory);
    const env = {
      ...process.env,
      NODE_TEST_CONTEXT: undefined,
      DAVIT_ENDPOINT: `unix://${node.daemon.paths.socket}`,
    };
    const pipe = (line: string): string =>
      execFileSync("sh", ["-ec", line], { cwd: directory, env }).toString();
    // It writes no file on this machine. A bug once created the file "-" in the current directory.
    assert.match(pipe(`'${program}' cp ${id}:/tmp/a - | tar -tv`), /a\/b\/link -> f\n/);
    assert.deepEqual(readdirSync(directory), []);
    pipe(`'${program}' cp ${id}:/tmp/a - | tar -x && '${program}' cp ${id}:/tmp/a/. - >dot.tar`);
    assert.equal(readFileSync(path.join(directory, "a/b/link"), "utf8"), "one\n");
    assert.match(pipe("tar -tf dot.tar"), /^\.\/\n\.\/b\/\n/);
    writeFileSync(path.join(directory, "big"), "x".repeat(3_000_000));
    pipe(`tar -c big a | '${program}' cp - ${id}:/tmp/a/b`);
    assert.equal(
      await sh(node.daemon, id, "wc -c </tmp/a/b/big; cat /tmp/a/b/a/b/link"),
      "3000000\none",
    );
    const missing = await davit.run("cp", `${id}:/no/such`, "-");
    assert.deepEqual([missing.code, missing.out], [1, ""], missing.err);
    const odd = await davit.start(["cp", "-", `${id}:/tmp`], "no archive").ended;
    assert.equal(odd.code, 1, odd.err);
    const nowhere = await davit.start(["cp", "-", `${id}:/tmp/a/b/f`], "").ended;
    assert.deepEqual([nowhere.code, /no such directory/.test(nowhere.err)], [1, true], nowhere.err);
    for (const words of [
      ["cp", `${id}:/tmp/a`, "-"],
      ["cp", "-", `${id}:/tmp`],
    ]) {
      const { seen, ended } = inTerminal(words);
      assert.deepEqual(await ended, [2, null], seen.text);
      assert.match(seen.text, /std(in|out) is a terminal/);
    }
  }));
