import assert from "node:assert/strict";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, describe, test } from "node:test";

import { notifyService } from "./native.ts";
import { DatagramListener } from "../testing/datagrams.ts";
import { openFds } from "../testing/leaks.ts";

const dir = mkdtempSync(join(tmpdir(), "davit-notify-"));
after(() => rmSync(dir, { recursive: true }));

describe("notifyService()", () => {
  for (const socket of [join(dir, "socket"), "@davit-test-notify"]) {
    test(`sends a datagram for each call to "${socket.replace(dir, "")}"`, async () => {
      await using listener = await DatagramListener.start(socket);
      notifyService(socket, "READY=1\nSTATUS=all \u2713");
      notifyService(socket, "WATCHDOG=1");
      assert.equal(await listener.next(), "READY=1\nSTATUS=all \u2713");
      assert.equal(await listener.next(), "WATCHDOG=1");
    });
  }

  test("fails when no process listens, never waits, and leaves no descriptor", async () => {
    const fds = openFds().size;
    const nobody = join(dir, "nobody");
    assert.throws(
      () => notifyService(nobody, "READY=1"),
      /notify service manager: .*nobody.*ENOENT/,
    );
    assert.throws(() => notifyService("@davit-test-nobody", "READY=1"), /ECONNREFUSED/);
    assert.throws(() => notifyService(`/${"x".repeat(107)}`, "READY=1"), /ENAMETOOLONG/);
    assert.throws(() => notifyService("", "READY=1"), /ENAMETOOLONG/);
    assert.throws(() => notifyService(nobody, "READY=1\0"), /EINVAL/);
    assert.equal(openFds().size, fds);

    const full = join(dir, "full");
    await using _listener = await DatagramListener.start(full, { reads: false });
    assert.throws(() => {
      // net.unix.max_dgram_qlen limits unread datagrams; it is 10 to 512 by default.
      for (let sent = 0; sent < 100_000; sent++) notifyService(full, "WATCHDOG=1");
    }, /EAGAIN/);
  });
});
