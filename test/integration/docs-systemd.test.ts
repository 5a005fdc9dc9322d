/** What docs/operations.md promises a service manager: Type=notify and WatchdogSec are served. */
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import path from "node:path";
import { test } from "node:test";
import { DatagramListener } from "../../src/linux/testing/datagrams.ts";
import { TestDaemon } from "../support/daemon.ts";

test("a service manager is told when davit serves, is ready, lives and ends", async () => {
  const socket = "@davit-test-manager";
  await using manager = await DatagramListener.start(socket);
  const env = { NOTIFY_SOCKET: socket, WATCHDOG_USEC: "400000" };
  await using daemon = await TestDaemon.start({ env });
  // A watchdog message may precede READY.
  const next = async (): Promise<string> => {
    for (;;) {
      const text = await manager.next();
      if (text !== "WATCHDOG=1") return text;
    }
  };
  assert.equal(await next(), "STATUS=restoring what the last run left");
  assert.equal(await next(), `READY=1\nSTATUS=serving ${daemon.paths.socket}`);
  assert.equal(await manager.next(), "WATCHDOG=1");
  assert.equal(await manager.next(), "WATCHDOG=1");

  assert.deepEqual(await daemon.stop(), { code: 0, signal: null });
  assert.equal(await next(), "STOPPING=1\nSTATUS=stopping; pods keep running");
});

test("the unit that is shipped keeps pods and state over a restart", () => {
  const file = path.join(import.meta.dirname, "../../packaging/davit.service");
  const lines = readFileSync(file, "utf8").split("\n");
  for (const line of ["Type=notify", "KillMode=process", "Delegate=yes", "Restart=always"]) {
    assert.ok(lines.includes(line), line);
  }
  // A mount namespace or a runtime directory that systemd empties would take the pods' state, and containers
  // inherit capabilities, filters of system calls and no_new_privs.
  const mounts = "MountFlags|Private|Protect|ProcSubset|ReadOnly|Inaccessible|Root|Temporary";
  const inherited =
    "CapabilityBounding|LockPersonality|MemoryDeny|NoNewPriv|Restrict|SystemCall|UMask";
  const forbidden = new RegExp(`^(RuntimeDirectory|DevicePolicy|${mounts}|${inherited})`);
  assert.deepEqual(
    lines.filter((line) => forbidden.test(line)),
    [],
  );
});
