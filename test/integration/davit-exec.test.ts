/** davit.v1.Containers/Exec: commands whose streams are messages of one call. */
// variants: shim, runc
import assert from "node:assert/strict";
import { readFileSync, statSync } from "node:fs";
import { after, before, describe, test } from "node:test";
import type { TestDaemon } from "../support/daemon.ts";
import { openSession, processesWith, runReaper } from "../support/suites/command-sessions.ts";
import {
  byRunc,
  closePod,
  Node,
  openPod,
  pidOf,
  type Pod,
  remove,
  runIn,
  script,
  sh,
} from "../support/suites/containers.ts";
import {
  bare,
  code,
  failsWith,
  leakless,
  mapped,
  openDirectories,
  until,
  userRange,
} from "../support/suites/pods.ts";

const mebibyte = 1024 * 1024;

let node: Node;
let daemon: TestDaemon;
let pod: Pod;
let id = "";
const served = (): TestDaemon => daemon;

before(async () => {
  node = await Node.startWithBusybox();
  daemon = node.daemon;
  openDirectories(daemon);
  pod = await openPod(daemon, bare());
  const envs = [{ key: "ASKED", value: Buffer.from("for") }];
  const linux = { securityContext: { supplementalGroups: [4000n] } };
  id = await runReaper(pod, { envs, linux });
});
after(async () => {
  await closePod(pod);
  await node[Symbol.asyncDispose]();
});

type Start = Parameters<typeof openSession>[3];
const shell = (text: string, start?: Start, options?: Parameters<typeof openSession>[4]) =>
  openSession(daemon, id, ["/bin/sh", "-c", text], start, options);

/** What a shell script in the container says; it must succeed. */
async function says(text: string, start?: Start, container = id): Promise<string> {
  await using session = openSession(daemon, container, ["/bin/sh", "-c", text], start);
  assert.equal(await session.end, 0, `${text}: ${session.stderr}`);
  return session.stdout.trimEnd();
}

describe("a command", () => {
  test(
    "has its streams, says first that it runs and last how it ended",
    leakless(served, async () => {
      await using session = shell("echo out; echo err >&2; cat; exit 3", { stdin: true });
      await session.type("typed ");
      await session.type("text");
      await session.endInput();
      assert.equal(await session.end, 3);
      assert.deepEqual([session.stdout, session.stderr], ["out\ntyped text", "err\n"]);
      assert.deepEqual([session.kinds[0], session.kinds.at(-1)], ["started", "end"]);
    }),
  );

  test("that says nothing and ends at once has a start and an end", async () => {
    await using session = openSession(daemon, id, ["true"]);
    assert.equal(await session.end, 0);
    assert.deepEqual(session.kinds, ["started", "end"]);
  });

  test("without stdin reads end of file, also when the client ends its messages", async () => {
    await using session = shell("cat; echo read");
    session.endMessages();
    assert.equal(await session.end, 0);
    assert.equal(session.stdout, "read\n");
  });

  test("has its own variables over those of the container", async () => {
    const env = [
      { name: "ASKED", value: Buffer.from("again") },
      { name: "OWN", value: Buffer.from("a = b\n") },
    ];
    const text = 'echo "$ASKED $FROM_IMAGE $OWN"';
    assert.equal(await says(text, { env }), "again yes a = b");
    assert.equal(await says(text), "for yes");
  });

  test("has its own working directory", async () => {
    assert.equal(await says("pwd", { workingDir: "/home/app" }), "/home/app");
    assert.equal(await says("pwd"), "/");
  });

  test("that a signal ended has 128 and its number", async () => {
    await using session = shell("kill -TERM $$");
    assert.equal(await session.end, 143);
  });

  test("gets 10 MiB by stdin and gives them back", { timeout: 120_000 }, async () => {
    await using session = openSession(daemon, id, ["cat"], { stdin: true }, { keeps: false });
    const chunk = Buffer.alloc(64 * 1024, "x");
    for (let at = 0; at < 160; at++) await session.send({ case: "stdin", value: chunk });
    await session.endInput();
    assert.equal(await session.end, 0);
    assert.equal(session.bytes, 10 * mebibyte);
  });

  test("with a message of 8 MiB gets all of it", { timeout: 120_000 }, async () => {
    await using session = openSession(daemon, id, ["wc", "-c"], { stdin: true });
    await session.send({ case: "stdin", value: Buffer.alloc(8 * mebibyte, "x") });
    await session.endInput();
    assert.equal(await session.end, 0);
    assert.equal(session.stdout.trim(), String(8 * mebibyte));
  });
});

describe("a user", () => {
  test("by name, number and group, with the groups of the root's files and of the pod", async () => {
    const ids = (user: string): Promise<string> =>
      says("echo $(id -u) $(id -g) $(id -G)", { user });
    assert.equal(await ids(""), "0 0 0 4000");
    assert.equal(await ids("app"), "1000 1000 1000 2000 4000");
    assert.equal(await ids("1000"), "1000 1000 1000 2000 4000");
    assert.equal(await ids("app:extra"), "1000 2000 2000 4000");
    assert.equal(await ids("1234:77"), "1234 77 77 4000");
    assert.equal(await ids("4321"), "4321 0 0 4000");
    assert.equal(await ids("root"), "0 0 0 4000");
  });

  test("is looked up in the container's root as it is now", async () => {
    await sh(daemon, id, "echo new:x:555:556::/tmp:/bin/sh >> /etc/passwd");
    assert.equal(await says("id -u; id -g", { user: "new" }), "555\n556");
    await using session = openSession(daemon, id, ["true"], { user: "ghost" });
    await assert.rejects(
      session.end,
      failsWith(
        code.invalidArgument,
        /exec in container .*"ghost".*\/etc\/passwd has no such user/,
      ),
    );
  });

  test("is not looked up in what a container puts in place of its files", async () => {
    // NOTE(crun): it reads the file for HOME itself, so a command would wait for the other end of the pipe.
    const piped = await runIn(pod, script("rm /etc/passwd; mkfifo /etc/passwd; exec sleep 1000"));
    const passwd = `/proc/${await pidOf(daemon, piped)}/root/etc/passwd`;
    await until(
      "it is a pipe",
      () => statSync(passwd, { throwIfNoEntry: false })?.isFIFO() === true,
    );
    await using fifo = openSession(daemon, piped, ["true"], { user: "app" });
    await assert.rejects(
      fifo.end,
      failsWith(code.invalidArgument, /\/etc\/passwd.*it is not a file/),
    );
    const linked = await runIn(pod);
    await sh(daemon, linked, "rm /etc/passwd; ln -s /proc/1/root/etc/passwd /etc/passwd");
    await using outside = openSession(daemon, linked, ["true"], { user: "daemon" });
    await assert.rejects(
      outside.end,
      failsWith(code.invalidArgument, /\/etc\/passwd has no such user/),
    );
    for (const one of [piped, linked]) await remove(daemon, one);
  });

  test("other than root has no effective capabilities, and no more than root in the container", async () => {
    const sets = async (start: Start, container = id): Promise<Record<string, string>> =>
      Object.fromEntries(
        (await says("grep -E '^(Cap|NoNewPrivs|Seccomp:)' /proc/self/status", start, container))
          .split("\n")
          .map((line) => line.split(/:\s+/) as [string, string]),
      );
    const none = "0000000000000000";
    const root = await sets({});
    const app = await sets({ user: "app" });
    assert.deepEqual(
      [app["CapEff"], app["CapPrm"], app["CapInh"], app["CapAmb"]],
      Array(4).fill(none),
    );
    assert.equal(app["CapBnd"], root["CapBnd"]);
    assert.deepEqual([app["NoNewPrivs"], app["Seccomp"]], [root["NoNewPrivs"], root["Seccomp"]]);

    // The container's own user has a capability that stays effective; root and others in it do not get more.
    const securityContext = {
      runAsUser: { value: 1000n },
      noNewPrivs: true,
      capabilities: { addAmbientCapabilities: ["NET_BIND_SERVICE"], dropCapabilities: ["MKNOD"] },
    };
    const strict = await runIn(pod, script("sleep 100000", { linux: { securityContext } }));
    const own = await sets({}, strict);
    const other = await sets({ user: "nobody" }, strict);
    const asRoot = await sets({ user: "0" }, strict);
    assert.notEqual(own["CapEff"], none);
    assert.deepEqual([other["CapEff"], other["CapAmb"]], [none, none]);
    assert.equal(asRoot["CapEff"], own["CapBnd"]);
    for (const one of [other, asRoot]) {
      assert.deepEqual([one["NoNewPrivs"], one["CapBnd"]], ["1", own["CapBnd"]]);
    }
    await remove(daemon, strict);
  });

  test("in a pod with a user namespace is one of the namespace", { skip: byRunc }, async () => {
    const config = mapped();
    const mappedPod = await openPod(daemon, config);
    try {
      const inside = await runIn(mappedPod);
      await using session = openSession(
        daemon,
        inside,
        ["/bin/sh", "-c", "id -u; touch /tmp/made; read line"],
        { user: "app", stdin: true },
      );
      await session.says("1000");
      const [uid, pid] = await until("the command is seen from outside", () => {
        for (const found of processesWith("touch /tmp/made; read line")) {
          const status = readFileSync(`/proc/${found}/status`, "utf8");
          const seen = Number(/^Uid:\s+(\d+)/m.exec(status)?.[1]);
          if (seen >= userRange.hostId) return [seen, found] as const;
        }
        return undefined;
      });
      assert.equal(uid, userRange.hostId + 1000);
      assert.match(readFileSync(`/proc/${pid}/status`, "utf8"), /^CapEff:\s+0000000000000000$/m);
      await session.type("\n");
      assert.equal(await session.end, 0);
      assert.equal(await says("stat -c %u /tmp/made", {}, inside), "1000");
      await using above = openSession(daemon, inside, ["true"], { user: "70000" });
      await assert.rejects(
        above.end,
        failsWith(code.invalidArgument, /user namespace has uids below 65536 .*"70000"/),
      );
    } finally {
      await closePod(mappedPod);
    }
  });
});

describe("a terminal", () => {
  test("has the first size, and each later one", async () => {
    const terminal = { width: 91, height: 33 };
    // NOTE(crun): it sets the size when the command has begun, but before davit has the terminal. Input comes after that.
    const first = byRunc ? "stty size" : "read l; stty size";
    await using session = shell(`${first}; while :; do read l; stty size; done`, {
      terminal,
      stdin: true,
    });
    if (!byRunc) await session.type("\n");
    await session.says("33 91");
    await session.send({ case: "size", value: { width: 120, height: 40 } });
    await session.type("\n");
    const shown = (): string => JSON.stringify(session.stdout.slice(-200));
    await until(
      () => `it has the new size, after ${shown()}`,
      async () => {
        if (session.stdout.includes("40 120")) return true;
        await session.type("\n");
        return false;
      },
    );
    // The terminal's own way to end the command. NOTE(busybox): a signal right before its shell reads waits for more input.
    await until(
      () => `Ctrl-C ends it, after ${shown()}`,
      async () => {
        if (session.kinds.at(-1) === "end") return true;
        await session.type("\u0003");
        return false;
      },
    );
    assert.equal(await session.end, 130);
    assert.equal(session.stderr, "");
  });
});

describe("a signal", () => {
  test("reaches the command itself, by name and by number", async () => {
    const text =
      "trap 'echo hup' HUP; trap 'echo usr1; exit 5' USR1; echo ready; while :; do sleep 0.05; done";
    await using session = shell(text);
    await session.says("ready");
    await session.signal("1");
    await session.says("hup");
    await session.signal("SIGUSR1");
    assert.equal(await session.end, 5);
    assert.equal(session.stdout, "ready\nhup\nusr1\n");
  });

  test("that is sent with the start waits until the command runs", async () => {
    await using session = openSession(daemon, id, ["sleep", "1000"]);
    await session.signal("SIGKILL");
    assert.equal(await session.end, 137);
  });
});
