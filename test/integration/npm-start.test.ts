/** `npm start` on difficult hosts: routes to all subnets, a port in use, no network. */
import assert from "node:assert/strict";
import { execFileSync, spawn } from "node:child_process";
import { once } from "node:events";
import { cpSync, existsSync, mkdirSync, mkdtempSync, rmSync } from "node:fs";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import path from "node:path";
import { text } from "node:stream/consumers";
import { after, before, describe, test } from "node:test";
import { program } from "../support/suites/cli.ts";
import { until } from "../support/suites/pods.ts";

const repo = path.resolve(import.meta.dirname, "../..");

interface Ended {
  readonly code: number | null;
  readonly out: string;
}

/** Runs a program to its end; `out` is all that it printed. */
async function run(
  command: string,
  args: readonly string[],
  more: { readonly cwd?: string; readonly env?: NodeJS.ProcessEnv } = {},
): Promise<Ended> {
  const child = spawn(command, args, {
    cwd: more.cwd ?? repo,
    stdio: ["ignore", "pipe", "pipe"],
    env: { ...process.env, NODE_TEST_CONTEXT: undefined, DAVIT_ENDPOINT: undefined, ...more.env },
  });
  const ended = once(child, "close") as Promise<[number | null]>;
  const [out, err] = await Promise.all([text(child.stdout), text(child.stderr)]);
  const [code] = await ended;
  return { code, out: out + err };
}

const ip = (...args: string[]): unknown => execFileSync("ip", args);

describe("the demo beside a route to 10.0.0.0/8", () => {
  before(() => {
    // The demo uses fixed directories of the host. No other demo uses them here.
    execFileSync("mount", ["-t", "tmpfs", "tmpfs", "/var/lib"]);
    ip("link", "add", "vpn0", "type", "veth", "peer", "name", "vpn1");
    ip("link", "set", "vpn0", "up");
    ip("route", "add", "10.0.0.0/8", "dev", "vpn0");
  });
  after(() => {
    ip("link", "delete", "vpn0");
    execFileSync("umount", ["/var/lib"]);
  });

  test("chooses another range, runs its pod, and removes everything", async () => {
    const { code, out } = await run(program, ["demo", "--once", "examples/hello.yaml"]);
    assert.equal(code, 0, out);
    assert.match(out, /Choose a network .*172\.28\.0\.0\/24 on davit-demo0/);
    assert.match(out, /hello from hello/);
    assert.ok(!existsSync("/sys/class/net/davit-demo0"));
    assert.ok(!existsSync("/var/lib/davit-demo") && !existsSync("/run/davit-demo"));
  });
});

describe("the demo, after its output was closed", () => {
  before(() => {
    execFileSync("mount", ["-t", "tmpfs", "tmpfs", "/var/lib"]);
  });
  after(() => {
    execFileSync("umount", ["/var/lib"]);
  });

  for (const [what, command] of [
    [
      "its terminal is closed",
      ["script", "-qec", `${program} demo examples/hello.yaml`, "/dev/null"],
    ],
    ["the reader of its output is gone", [program, "demo", "examples/hello.yaml"]],
  ] as const) {
    test(`removes everything when ${what}`, async () => {
      const [file, ...args] = command;
      const child = spawn(file, args, { cwd: repo, stdio: ["pipe", "pipe", "ignore"] });
      const gone = once(child, "exit");
      let seen = "";
      for await (const chunk of child.stdout) {
        seen += String(chunk);
        // Destroys the pipe, too.
        if (seen.includes("hello from hello")) break;
      }
      if (file === "script") child.kill("SIGKILL");
      else await fetch("http://127.0.0.1:8077/"); // which the container logs, and the demo prints
      await gone;
      await until("all of it is gone", () =>
        ["/var/lib/davit-demo", "/run/davit-demo", "/sys/class/net/davit-demo0"].every(
          (place) => !existsSync(place),
        ),
      );
    });
  }
});

describe("npm start", () => {
  test("names a port in use before it installs anything", async () => {
    await using server = createServer();
    await new Promise<void>((resolve) => server.listen(8077, "127.0.0.1", resolve));
    const { code, out } = await run("sh", ["scripts/start.sh", "--once"]);
    assert.equal(code, 1, out);
    assert.match(out, /✗ Check the host/);
    assert.match(out, /a process listens on port 8077/);
    assert.ok(!out.includes("Install what is missing"), out);
  });
});

describe("setup without a network", () => {
  const directory = mkdtempSync(path.join(tmpdir(), "setup-"));
  before(() => {
    // As after a clone: nothing is installed, and npm's cache is empty.
    mkdirSync(path.join(directory, "home"));
    for (const name of ["scripts", "package.json", "package-lock.json"]) {
      cpSync(path.join(repo, name), path.join(directory, name), { recursive: true });
    }
  });
  after(() => rmSync(directory, { recursive: true, force: true }));

  const setUp = (): Promise<Ended> => {
    const home = path.join(directory, "home");
    // Without the node_modules/.bin of this checkout.
    const PATH = (process.env["PATH"] ?? "").replaceAll(/[^:]*\/node_modules\/\.bin:?/g, "");
    const env = { HOME: home, npm_config_cache: path.join(home, "cache"), PATH };
    return run("sh", ["scripts/setup.sh"], { cwd: directory, env });
  };
  const givesUp = ({ code, out }: Ended, why: RegExp): void => {
    assert.equal(code, 1, out);
    assert.match(out, why);
    assert.match(out, /check network and proxy/);
    assert.ok(!existsSync(path.join(directory, "node_modules/.package-lock.json")));
  };

  test("says immediately that the registry cannot be reached", async () => {
    givesUp(await setUp(), /registry cannot be reached.*: E[A-Z]+/);
  });

  test("gives up on a network that drops every packet", async () => {
    ip("link", "add", "gone0", "type", "veth", "peer", "name", "gone1");
    try {
      for (const name of ["gone0", "gone1"]) ip("link", "set", name, "up");
      ip("address", "add", "10.9.9.2/24", "dev", "gone0");
      ip("neighbour", "add", "10.9.9.1", "lladdr", "02:00:00:00:00:01", "dev", "gone0");
      ip("route", "add", "default", "via", "10.9.9.1");
      givesUp(await setUp(), /registry cannot be reached/);
    } finally {
      ip("link", "delete", "gone0");
    }
  });
});
