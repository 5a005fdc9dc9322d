import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { mkdtempSync, readdirSync, readlinkSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, test } from "node:test";

import { isKind } from "../../base/errors.ts";
import { errnoCode } from "../../base/system-error.ts";
import { pinNamespaces, unpinNamespace } from "../namespace/index.ts";
import { openFds } from "../testing/leaks.ts";
import { addressesOf, createVeth, deleteLink, exchange, findLink, setLink } from "./index.ts";

let base: string;
let netns: string;

beforeEach(async () => {
  base = mkdtempSync(join(tmpdir(), "exchange-"));
  netns = join(base, "net");
  await pinNamespaces({ net: netns });
});

afterEach(async () => {
  await unpinNamespace(netns);
  rmSync(base, { recursive: true });
});

describe("exchange()", () => {
  test("works in a namespace and leaves the threads of the process in theirs", async () => {
    const before = readlinkSync("/proc/self/ns/net");
    const fds = openFds().size;
    for (let round = 0; round < 20; round++) {
      await Promise.all(Array.from({ length: 8 }, () => findLink(netns, "lo")));
    }
    const threads = readdirSync("/proc/self/task").map((id) =>
      readlinkSync(`/proc/self/task/${id}/ns/net`),
    );
    assert.deepEqual([...new Set(threads)], [before]);
    assert.equal(openFds().size, fds);
  });

  test("stops at what the kernel refuses, and says what that was", async () => {
    const lo = await findLink(netns, "lo");
    assert.ok(lo);
    const none = { index: 4_711, name: "none" };
    await assert.rejects(
      exchange(netns, [setLink(lo, { mtu: 1_400 }), deleteLink(none), setLink(lo, { mtu: 1_300 })]),
      (error) => {
        assert.equal(errnoCode(error), "ENODEV");
        assert.match(String(error), /delete link "none"/);
        return true;
      },
    );
    assert.equal((await findLink(netns, "lo"))?.mtu, 1_400);
  });

  test("rejects what is not a namespace, and sysctls that must be written", async () => {
    const file = join(base, "file");
    writeFileSync(file, "");
    await assert.rejects(findLink(file, "lo"), (error) => isKind(error, "invalid-argument"));
    await assert.rejects(findLink(join(base, "none"), "lo"), (error) => isKind(error, "not-found"));
    const path = "/proc/sys/net/ipv4/conf/none/arp_notify";
    await exchange(undefined, [], [{ path, value: "1", mayFail: true }]);
    await assert.rejects(exchange(undefined, [], [{ path, value: "1" }]), (error) =>
      isKind(error, "not-found"),
    );
  });

  test("a dump has the addresses of one link, also in several parts", async () => {
    const veth = { name: "eth0", peer: "dvt4", peerPid: process.pid, mtu: undefined };
    await exchange(netns, [createVeth(veth)]);
    const link = await findLink(netns, "eth0");
    assert.ok(link);
    const batch = Array.from(
      { length: 600 },
      (_, at) => `addr add 10.5.${at >> 8}.${at & 255}/32 dev eth0\n`,
    );
    const file = join(base, "batch");
    writeFileSync(file, batch.join(""));
    execFileSync("nsenter", [`--net=${netns}`, "ip", "-batch", file]);
    assert.equal((await addressesOf(netns, link.index, "ipv4")).length, 600);
    const lo = await findLink(netns, "lo");
    assert.equal((await addressesOf(netns, lo?.index ?? 0, "ipv4")).length, 1);
    await exchange(netns, [deleteLink(link)]);
  });
});
