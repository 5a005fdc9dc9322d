/** `davit serve` for its operator: the configuration, SIGHUP, terminals, the group of the socket. */
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { chmodSync, readFileSync, statSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { after, before, describe, test } from "node:test";
import { TestDaemon } from "../support/daemon.ts";
import { Davit, program } from "../support/suites/cli.ts";
import {
  bare,
  endDaemon,
  launchDaemon,
  READY,
  removePod,
  runPod,
  runtimeFact,
  startDaemon,
  statusOf,
  until,
} from "../support/suites/pods.ts";

describe("SIGHUP", () => {
  let daemon: TestDaemon;
  before(async () => {
    daemon = await startDaemon({ config: { log: { level: "info" } } });
  });
  after(() => endDaemon(daemon));

  /** Sends it, and resolves with what the daemon says of it. */
  async function reload(says: RegExp): Promise<string> {
    const from = daemon.lines.length;
    process.kill(daemon.pid, "SIGHUP");
    return (await daemon.waitForLine(says, from)).text;
  }

  const level = async (): Promise<unknown> => {
    const { log } = (await runtimeFact(daemon, "config")) as { log: { level: unknown } };
    return log.level;
  };

  test("makes a daemon read the level of its log again, and pods keep running", async () => {
    const pod = await runPod(daemon, bare());
    const { pid } = daemon;
    assert.equal(await level(), "info");
    daemon.changeConfig({ log: { level: "debug" }, runtime: { retry_hold_seconds: 3 } });
    const read = await reload(/"reloaded the configuration"/);
    assert.match(read, /"changed":\["log\.level: \\"info\\" -> \\"debug\\""\]/);
    const waits = await daemon.waitForLine(/"these settings take effect when davit restarts/);
    assert.deepEqual(waits.fields["keys"], ["runtime.retry_hold_seconds: 120 -> 3"]);
    assert.equal(await level(), "debug");
    // A call that is logged at the level debug only.
    const from = daemon.lines.length;
    await daemon.client.runtime.version({});
    await daemon.waitForLine(/"level":"debug","message":"Version"/, from);
    assert.equal(daemon.pid, pid);
    assert.equal((await statusOf(daemon, pod)).state, READY);
    await removePod(daemon, pod);
  });

  test("changes nothing if the configuration is wrong, and says what is wrong", async () => {
    daemon.changeConfig({ log: { level: "loud" } });
    const said = await reload(/invalid configuration, keeping the previous one: /);
    assert.match(said, /davit\.toml:\d+: \\"log\.level\\" is \\"loud\\"/);
    assert.equal(await level(), "debug");
  });
});

describe("davit serve in a terminal", () => {
  let daemon: TestDaemon;
  before(async () => {
    daemon = TestDaemon.prepare();
  });
  after(() => endDaemon(daemon));

  test("ignores SIGHUP, and ends when the terminal is closed", async () => {
    const { config, state } = daemon.paths;
    const terminal = spawn("script", ["-qec", `${program} serve --config ${config}`, "/dev/null"], {
      stdio: ["pipe", "pipe", "inherit"],
      env: { ...process.env, NODE_TEST_CONTEXT: undefined },
    });
    let seen = "";
    terminal.stdout.on("data", (chunk: Buffer) => (seen += String(chunk)));
    await until("it is ready", () => / info {2}ready/.test(seen));
    const [pidText] = readFileSync(path.join(state, "davit.lock"), "utf8").split("\n");
    const pid = Number(pidText);
    process.kill(pid, "SIGHUP");
    await until("it has read its configuration", () => seen.includes("reloaded the configuration"));
    await daemon.client.runtime.version({});
    const gone = once(terminal, "exit");
    terminal.kill("SIGKILL");
    await gone;
    await until("it has ended", () => !lives(pid));
    // For the end of the suite.
    await launchDaemon(daemon);
  });
});

function lives(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch {
    return false;
  }
}

describe("server.group", () => {
  const gid = 4242;
  let daemon: TestDaemon;
  before(async () => {
    daemon = await startDaemon({ config: { server: { group: gid } } });
    // Only the user who runs the test may enter its directories.
    for (const directory of [tmpdir(), daemon.paths.directory]) {
      chmodSync(directory, statSync(directory).mode | 0o011);
    }
  });
  after(() => endDaemon(daemon));

  test("lets the group use the socket, and no other user except root", async () => {
    const { gid: group, mode, uid } = statSync(daemon.paths.socket);
    assert.deepEqual([uid, group, mode & 0o777], [0, gid, 0o660]);
    assert.equal(await connectAs(65_534, gid), "connected");
    assert.equal(await connectAs(65_534, 65_534), "EACCES");
  });

  test("is reported by doctor", async () => {
    const davit = new Davit(daemon);
    const { out } = await davit.run("doctor", "--config", daemon.paths.config, "--only", "sockets");
    assert.match(out, /is writable by group "4242" +sockets\.open-to-group/);
  });

  /** Whether a process of this user and group gets a connection, or else the error's name. */
  async function connectAs(uid: number, group: number): Promise<string> {
    const connect = `require("node:net").connect(process.argv[1])
      .on("connect", () => { console.log("connected"); process.exit(); })
      .on("error", ({ code }) => console.log(code));`;
    const child = spawn(process.execPath, ["-e", connect, daemon.paths.socket], {
      uid,
      gid: group,
      cwd: "/",
      env: {},
      stdio: ["ignore", "pipe", "inherit"],
    });
    let said = "";
    child.stdout.on("data", (chunk: Buffer) => (said += String(chunk)));
    await once(child, "close");
    return said.trim();
  }
});
