/** davit run IMAGE against a real daemon and registry: output, exit codes, streams, signals, and what stays. */
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync, mkdirSync, readdirSync, writeFileSync } from "node:fs";
import { createServer } from "node:net";
import path from "node:path";
import { text } from "node:stream/consumers";
import { after, before, describe, test } from "node:test";
import { Davit, program } from "../support/suites/cli.ts";
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

async function nothingIsLeft(): Promise<void> {
  await until("no pod is left", async () => (await davit.done("pods", "-q")) === "");
  assert.deepEqual(
    readdirSync(davit.podsDirectory, { recursive: true }),
    [],
    "no directory of a pod is left",
  );
}

/** Runs a container in the foreground and removes it. */
function sh(script: string, ...options: string[]) {
  return davit.run("run", "--rm", ...options, busybox, "sh", "-c", script);
}

describe("davit run IMAGE in the foreground", () => {
  test("prints all output of a short container as it is, and exits with its code", async () => {
    assert.deepEqual(await sh("echo out; echo err >&2; exit 3"), {
      code: 3,
      out: "out\n",
      err: "err\n",
    });
    assert.deepEqual(await sh("printf 'no newline'"), { code: 0, out: "no newline", err: "" });
    assert.deepEqual(await sh("printf 'a\\n\\n'"), { code: 0, out: "a\n\n", err: "" });
    assert.deepEqual(await sh("exit 255"), { code: 255, out: "", err: "" });
    const lines = await sh("seq 1 100000");
    assert.equal(lines.out.length, 588_895, "and no line is lost or doubled");
    assert.ok(lines.out.endsWith("\n99999\n100000\n"));
    // Without --init, the shell is PID 1, which signals of its own do not kill.
    assert.deepEqual(await sh("kill -9 $$", "--init"), { code: 137, out: "", err: "" });
    await nothingIsLeft();
  });

  test("does not lose output that the reader takes slowly", async () => {
    const words = ["run", "--rm", busybox, "sh", "-c", "yes 0123456789abcde | head -n 400000"];
    const { child, ended } = davit.start(words);
    child.stdout?.pause();
    await new Promise((resolve) => setTimeout(resolve, 1500));
    child.stdout?.resume();
    const { code, out } = await ended;
    assert.equal(code, 0);
    assert.equal(out.length, 16 * 400_000);
  });

  test("sends stdin to its end with -i", async () => {
    const input = `first\n${"x".repeat(300_000)}\nlast`;
    const { code, out, err } = await davit.start(["run", "-i", "--rm", busybox, "cat"], input)
      .ended;
    assert.deepEqual({ code, err }, { code: 0, err: "" });
    assert.equal(out, input);
    await nothingIsLeft();
  });

  test("exits with 125, 126 and 127 as docker does, and leaves nothing", async () => {
    const missing = await davit.run("run", busybox, "nosuchprogram");
    assert.equal(missing.code, 127, missing.err);
    assert.match(missing.err, /nosuchprogram/);
    const directory = await davit.run("run", busybox, "/etc");
    assert.equal(directory.code, 126, directory.err);
    const image = await davit.run("run", "registry.k8s.io/e2e/none", "sh");
    assert.equal(image.code, 125, image.err);
    assert.match(image.err, /pull image .*; there is no file "registry.k8s.io\/e2e\/none" either/);
    const invalid = await davit.run("run", "--hostname", "-", busybox);
    assert.equal(invalid.code, 2, invalid.err);
    await nothingIsLeft();
  });

  test("keeps the pod without --rm, and says how to remove it", async () => {
    const { code, out, err } = await davit.run("run", "--name", "kept", busybox, "echo", "hello");
    assert.deepEqual({ code, out }, { code: 0, out: "hello\n" });
    assert.match(err, /^pod default\/kept is kept: "davit down default\/kept" removes it/m);
    assert.match(await davit.done("ps", "-a"), / kept +busybox .* exited \(0\) \d+ s ago/);
    const again = await davit.run("run", "--name", "kept", busybox, "true");
    assert.equal(again.code, 125);
    assert.match(again.err, /this pod exists already, nothing was done/);
    const other = await davit.run("run", "--rm", "--replace", "--name", "kept", busybox, "true");
    assert.equal(other.code, 0, other.err);
    await nothingIsLeft();
  });

  test("forwards the first Ctrl-C, and the second one kills", async () => {
    const script = "trap 'echo caught; exit 7' INT; echo ready; while :; do sleep 0.1; done";
    const { child, ended } = davit.start(["run", "--rm", busybox, "sh", "-c", script]);
    await outputOf(child, "ready");
    child.kill("SIGINT");
    const { code, out, err } = await ended;
    assert.deepEqual({ code, out }, { code: 7, out: "ready\ncaught\n" }, err);
    assert.match(err, /sent SIGINT to the container/);

    const stubborn = "trap '' INT; echo ready; while :; do sleep 0.1; done";
    const other = davit.start(["run", "--rm", busybox, "sh", "-c", stubborn]);
    await outputOf(other.child, "ready");
    other.child.kill("SIGINT");
    await new Promise((resolve) => setTimeout(resolve, 700));
    other.child.kill("SIGINT");
    assert.equal((await other.ended).code, 137);
    await nothingIsLeft();
  });

  test("follows a container over a restart of davit", async () => {
    const script = "echo ready; while [ ! -e /end ]; do sleep 0.1; done; echo last; exit 4";
    const words = ["run", "--rm", "--name", "long", busybox, "sh", "-c", script];
    const { child, ended } = davit.start(words);
    await outputOf(child, "ready");
    await node.daemon.stop();
    await node.daemon.restart();
    await davit.done("exec", "long", "touch", "/end");
    const { code, out, err } = await ended;
    assert.deepEqual({ code, out }, { code: 4, out: "ready\nlast\n" }, err);
    await nothingIsLeft();
  });

  test("removes the pod when the terminal or the reader is gone", async () => {
    const loop = ["run", "--rm", busybox, "sh", "-c", "echo ready; while :; do sleep 0.1; done"];
    const hungUp = davit.start(loop);
    await outputOf(hungUp.child, "ready");
    hungUp.child.kill("SIGHUP");
    assert.equal((await hungUp.ended).code, 129);
    await nothingIsLeft();

    const words = `run --pods-directory ${davit.podsDirectory} --rm ${busybox} yes`;
    const piped = spawn("sh", ["-c", `(${program} ${words}; echo $? >&2) | head -n 2`], {
      stdio: ["ignore", "pipe", "pipe"],
      env: { ...process.env, DAVIT_ENDPOINT: `unix://${node.daemon.paths.socket}` },
    });
    assert.equal(await text(piped.stdout), "y\ny\n");
    assert.equal(await text(piped.stderr), "0\n");
    await nothingIsLeft();
  });

  test("removes everything that was made at a Ctrl-C during the pull, and says so", async () => {
    await davit.done("rmi", busybox);
    const release = node.registry.hold(/blobs/, 100);
    try {
      const { child, ended } = davit.start(["run", busybox, "true"]);
      await until("the pod is made", async () => (await davit.done("pods", "-q")) !== "");
      child.kill("SIGINT");
      const { code, err } = await ended;
      assert.equal(code, 130);
      assert.match(err, /interrupted; everything that was created is removed/);
    } finally {
      release();
    }
    await nothingIsLeft();
    await davit.done("pull", busybox);
  });
});

describe("the options of davit run IMAGE", () => {
  test("reach the container", async () => {
    const directory = path.join(node.daemon.paths.directory, "shared");
    mkdirSync(directory);
    writeFileSync(path.join(directory, "file"), "from the host\n");
    const { code, out, err } = await sh(
      'echo $A $B; cat /v/file; echo x >/v/new 2>/dev/null || echo read-only; pwd; id -u; id -g; hostname; df -P /t | tail -n 1 | awk "{print \\$2}"; cat /sys/fs/cgroup/memory*/memory.limit_in_bytes /sys/fs/cgroup/memory.max 2>/dev/null | head -n 1',
      ...["-e", "A=$(B)$$", "-e", "B=2", "-v", `${directory}:/v:ro`, "-w", "/v", "-u", "12:34"],
      ...["--hostname", "box", "--tmpfs", "/t:size=1m", "-m", "64m"],
    );
    assert.equal(code, 0, err);
    assert.deepEqual(out.split("\n").slice(0, 8), [
      ...["$(B)$$ 2", "from the host", "read-only", "/v", "12", "34", "box", "1024"],
    ]);
    assert.match(out, /\n67108864\n$/);
  });

  test("--entrypoint replaces the program, and --read-only and --cap-drop take away", async () => {
    const words = ["run", "--rm", "--entrypoint", "echo", busybox, "-n", "a  b"];
    assert.deepEqual(await davit.run(...words), { code: 0, out: "a  b", err: "" });
    const { out } = await sh(
      "touch /x 2>/dev/null || echo read-only; grep CapEff /proc/self/status | tr -d '\\t'",
      ...["--read-only", "--cap-drop", "ALL"],
    );
    assert.equal(out, "read-only\nCapEff:0000000000000000\n");
  });

  test("--pids-limit limits processes", async () => {
    const { out } = await sh(
      "cat /sys/fs/cgroup/pids*/pids.max /sys/fs/cgroup/pids.max 2>/dev/null",
      "--pids-limit",
      "30",
    );
    assert.equal(out, "30\n");
  });

  test("--init reaps orphans, and --network chooses that of the host or none", async () => {
    const { out } = await sh("[ $$ = 1 ] || echo not 1; ls /sys/class/net | wc -l", "--init");
    assert.match(out, /^not 1\n/);
    const none = await sh(
      "ls /sys/class/net; hostname",
      "--network",
      "none",
      "--hostname",
      "alone",
    );
    assert.deepEqual(none, { code: 0, out: "lo\nalone\n", err: "" });
    const host = await sh("cat /proc/net/dev | wc -l", "--network", "host");
    assert.equal(host.code, 0, host.err);
  });

  test("-p publishes a port, is listed, and is refused where it is taken", async () => {
    const words = ["-d", "--name", "web", "-p", "127.0.0.1:18077:8077"];
    const id = await davit.done(
      "run",
      ...words,
      busybox,
      "httpd",
      "-f",
      "-p",
      "8077",
      "-h",
      "/etc",
    );
    assert.match(id, /^[0-9a-f]{64}\n$/);
    assert.match(
      await davit.done("pods"),
      / 1\/1 +\S+ +127\.0\.0\.1:18077->8077\/tcp +\d+ s ago\n/,
    );
    assert.match(await davit.done("ps"), / running \d+ s +127\.0\.0\.1:18077->8077\/tcp\n/);
    const second = await davit.run("run", "--rm", "-p", "18077:80", busybox, "true");
    assert.equal(second.code, 125);
    assert.match(second.err, /host port 18077\/tcp: in use by pod "default\/web"/);
    await davit.done("down", "-t", "0", "web");
    const server = createServer().listen(0, "127.0.0.1");
    await once(server, "listening");
    try {
      const { port } = server.address() as { port: number };
      const taken = await davit.run("run", "--rm", "-p", `${port}:80`, busybox, "true");
      assert.match(
        taken.err,
        new RegExp(`host port ${port}/tcp: in use by process ${process.pid}`),
      );
    } finally {
      server.close();
    }
    await nothingIsLeft();
  });

  test("-d tells about a container that fails at once, and keeps it", async () => {
    const { code, out, err } = await davit.run("run", "-d", "--name", "bad", busybox, "false");
    assert.equal(code, 1);
    assert.match(out, /^[0-9a-f]{64}\n$/);
    assert.match(err, /container "default\/bad\/busybox" exited with code 1/);
    assert.match(await davit.done("ps", "-l"), / bad +busybox .* exited \(1\)/);
    await davit.done("rm", "-af", "-t", "0");
    await nothingIsLeft();
  });

  test("--dry-run prints a manifest that has the same result", async () => {
    const words = ["-e", "A=$(x)", "--hostname", "same", "--name", "dry"];
    const command = [busybox, "sh", "-c", "echo $A; hostname"];
    for (const format of ["yaml", "json"]) {
      const text = await davit.done("run", "--dry-run", "-o", format, ...words, ...command);
      assert.equal(await davit.done("pods", "-q"), "");
      const ran = await davit.start(["run", "-"], text).ended;
      assert.equal(ran.code, 0, ran.err);
      await until("it has exited", async () =>
        (await davit.done("ps", "-a")).includes("exited (0)"),
      );
      assert.equal(await davit.done("logs", "dry"), "$(x)\nsame\n");
      await davit.done("down", "dry");
    }
  });
});

describe("davit run -it", () => {
  /** davit in a pseudo-terminal (script(1)) of 50 columns. */
  function inTerminal(...words: string[]) {
    const all = [program, "run", "--pods-directory", davit.podsDirectory, ...words];
    const quoted = all.map((word) => `'${word}'`).join(" ");
    const child = spawn("script", ["-qec", `stty cols 50 rows 20; ${quoted}`, "/dev/null"], {
      stdio: ["pipe", "pipe", "inherit"],
      env: {
        ...process.env,
        NODE_TEST_CONTEXT: undefined,
        NO_COLOR: "1",
        TERM: "xterm",
        DAVIT_ENDPOINT: `unix://${node.daemon.paths.socket}`,
      },
    });
    const seen = { text: "" };
    child.stdout.on("data", (chunk: Buffer) => (seen.text += String(chunk)));
    const saw = (text: string) => until(`"${text}" is shown`, () => seen.text.includes(text));
    return { child, seen, saw, ended: once(child, "close") as Promise<[number]> };
  }

  test("is a shell with the size of the terminal, whose first prompt is shown once", async () => {
    const { child, seen, saw, ended } = inTerminal("-it", "--rm", busybox, "sh");
    await saw("# ");
    child.stdin.write("stty size; tty\r");
    await saw("20 50");
    child.stdin.write("exit 5\r");
    const [code] = await ended;
    assert.equal(code, 5, seen.text);
    assert.equal(seen.text.split("stty size").length, 2, "the echo is shown once");
    assert.equal(seen.text.split("20 50").length, 2);
    await nothingIsLeft();
  });

  test("passes Ctrl-C, and Ctrl-P Ctrl-Q leaves the shell running", async () => {
    const { child, seen, saw, ended } = inTerminal("-it", "--name", "left", busybox, "sh");
    await saw("# ");
    child.stdin.write("echo in $((6 * 7)); sleep 1000\r");
    await saw("in 42");
    await until("it sleeps", async () => {
      return (await davit.done("exec", "left", "ps")).includes("sleep 1000");
    });
    child.stdin.write("\u0003");
    child.stdin.write("echo still $((40 + 2))\r");
    await saw("still 42");
    child.stdin.write("\u0010\u0011");
    const [code] = await ended;
    assert.equal(code, 0, seen.text);
    assert.match(seen.text, /"davit attach -it default\/left" returns to it/);
    assert.match(await davit.done("ps"), / left +busybox .* running/);
    const again = davit.start(["attach", "-i", "left"], "exit 6\n");
    await again.ended;
    await until("it has exited", async () => (await davit.done("ps", "-a")).includes("exited (6)"));
    await davit.done("rm", "-af");
    await nothingIsLeft();
  });

  test("shows the output of a command that ends at once", async () => {
    for (let round = 0; round < 5; round++) {
      const { seen, ended } = inTerminal("-it", "--rm", busybox, "echo", "only this");
      const [code] = await ended;
      assert.equal(code, 0);
      assert.equal(seen.text.split("only this").length, 2, seen.text);
    }
    await nothingIsLeft();
  });
});

/** Waits until a running command has printed a text. */
async function outputOf(child: { stdout: NodeJS.ReadableStream | null }, text: string) {
  let seen = "";
  child.stdout?.on("data", (chunk: Buffer) => (seen += String(chunk)));
  await until(`"${text}" is printed`, () => seen.includes(text));
}

test("a mount of a directory that does not exist makes it", async () => {
  const directory = path.join(node.daemon.paths.directory, "made");
  const { code, err } = await sh("echo x >/v/new", "-v", `${directory}:/v`);
  assert.equal(code, 0, err);
  assert.ok(existsSync(path.join(directory, "new")));
});
