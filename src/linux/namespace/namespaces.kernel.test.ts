import assert from "node:assert/strict";
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  readlinkSync,
  rmSync,
  statSync,
  writeFileSync,
} from "node:fs";
import { hostname, tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";

import { isKind } from "../../base/errors.ts";
import { within } from "../../base/wait.ts";
import { spawnChild } from "../process/child.ts";
import {
  bindMount,
  canMapIds,
  listMounts,
  makePrivateBind,
  mountTmpfs,
  unmount,
} from "../mount/index.ts";
import { watchMounts } from "../mount/mounts.ts";
import { isNamespaceMounted, pinNamespaces, unpinNamespace } from "./namespaces.ts";
import { run } from "../process/run.ts";
import { writeSysctls } from "./sysctls.ts";
import { mountsBelow, openFds, until } from "../testing/leaks.ts";

const env = { PATH: "/usr/sbin:/usr/bin:/sbin:/bin" };
const dir = mkdtempSync(join(tmpdir(), "davit-namespaces-"));
const pins = { net: join(dir, "net"), ipc: join(dir, "ipc"), uts: join(dir, "uts") };
const all = Object.values(pins);

before(() => makePrivateBind(dir));
after(async () => {
  await unmount(dir);
  rmSync(dir, { recursive: true });
});

const ours = (): string[] =>
  ["net", "ipc", "uts", "mnt"].map((kind) => readlinkSync(`/proc/self/ns/${kind}`));
const unpinAll = async (): Promise<void> => {
  for (const path of all) await unpinNamespace(path);
};

/** Equal inodes are the same namespace (namespaces(7)). */
const inodeOf = (path: string): number => statSync(path).ino;

async function inside(script: string, joinNamespaces = all): Promise<string> {
  const result = await run({
    file: "sh",
    args: ["-c", script],
    env,
    joinNamespaces,
    timeoutMs: 10_000,
  });
  assert.equal(result.code, 0, String(result.stderr));
  return String(result.stdout).trim();
}

describe("pinNamespaces()", () => {
  test("pins three namespaces with lo up and the hostname set, and does not change its own", async () => {
    const [namespaces, name] = [ours(), hostname()];
    await pinNamespaces({ ...pins, hostname: "pod-1" });
    for (const path of all) {
      assert.equal(isNamespaceMounted(path), true);
      assert.equal(statSync(path).mode & 0o777, 0o444);
    }
    assert.equal(await inside("hostname; ip -o link show lo | grep -c 'LOOPBACK,UP'"), "pod-1\n1");
    assert.notEqual(inodeOf(pins.net), inodeOf("/proc/self/ns/net"));
    assert.equal(await inside("stat -Lc %i /proc/self/ns/net"), String(inodeOf(pins.net)));
    await unpinAll();
    assert.deepEqual([ours(), hostname()], [namespaces, name]);
  });

  test("makes only the requested namespaces", async () => {
    await pinNamespaces({ ipc: pins.ipc });
    assert.deepEqual(all.map(existsSync), [false, true, false]);
    await unpinAll();
    await assert.rejects(pinNamespaces({ net: pins.net, hostname: "x" }), (e) =>
      isKind(e, "invalid-argument"),
    );
    await pinNamespaces({});
    assert.deepEqual(all.map(existsSync), [false, false, false]);
  });

  test("undoes everything when the last file exists, and does not change that file", async () => {
    writeFileSync(pins.uts, "somebody's");
    const mounts = await mountsBelow(dir);
    await assert.rejects(pinNamespaces(pins), (error) => {
      assert.ok(isKind(error, "already-exists"));
      assert.match(String(error), /create ".*uts"/);
      return true;
    });
    assert.deepEqual(all.map(existsSync), [false, false, true]);
    assert.equal(readFileSync(pins.uts, "utf8"), "somebody's");
    assert.deepEqual(await mountsBelow(dir), mounts);
    await unpinNamespace(pins.uts); // a plain file, as an earlier boot leaves it
    assert.equal(existsSync(pins.uts), false);
  });

  test("leaves no mount, file or descriptor after 100 rounds, some concurrent", async () => {
    const [mounts, fds] = [await mountsBelow(dir), openFds().size];
    for (let round = 0; round < 20; round++) {
      const paths = Array.from({ length: 5 }, (_, i) => join(dir, `net-${i}`));
      await Promise.all(paths.map((net) => pinNamespaces({ net })));
      assert.equal(new Set(paths.map(inodeOf)).size, 5);
      await Promise.all(paths.map(unpinNamespace));
      assert.deepEqual(paths.filter(existsSync), []);
    }
    assert.deepEqual(await mountsBelow(dir), mounts);
    assert.equal(openFds().size, fds);
  });

  test("does not appear in other mount namespaces although its parent mount is shared", async () => {
    const shared = join(dir, "shared");
    mkdirSync(shared);
    await mountTmpfs(shared, { sizeBytes: 65_536, mode: 0o755 });
    await run({ file: "mount", args: ["--make-shared", shared], env, timeoutMs: 10_000 });
    mkdirSync(join(shared, "ns"));
    // A peer of the shared mount, like every service of systemd with a private /tmp.
    const peer = spawnChild({
      file: "unshare",
      args: ["--mount", "--propagation", "unchanged", "sleep", "60"],
      env,
    });
    const peerMounts = (): string => readFileSync(`/proc/${peer.pid}/mountinfo`, "utf8");
    await until(
      "the peer has its own mount namespace",
      () => readlinkSync(`/proc/${peer.pid}/ns/mnt`) !== ours()[3],
    );
    const [open, closed] = [join(shared, "open"), join(shared, "ns", "closed")];

    await pinNamespaces({ net: open });
    assert.ok(peerMounts().includes(open), "the peer would see pins without the private bind");
    await makePrivateBind(join(shared, "ns"));
    await makePrivateBind(join(shared, "ns"));
    assert.equal((await listMounts()).filter((m) => m.mountPoint === join(shared, "ns")).length, 1);
    await pinNamespaces({ net: closed });
    assert.equal(isNamespaceMounted(closed), true);
    assert.equal(peerMounts().includes(closed), false);

    await unpinNamespace(closed);
    await unpinNamespace(open);
    peer.kill(9);
    await peer.exited;
    await unmount(join(shared, "ns"));
    await unmount(shared);
  });
});

describe("pinNamespaces() with a user namespace", () => {
  const user = join(dir, "user");
  const range = { containerId: 0, hostId: 300_000, length: 1000 };
  const users = { uids: range, gids: { ...range, hostId: 400_000 } };
  const unpinUsers = async (): Promise<void> => {
    await unpinNamespace(user);
    await unpinAll();
  };
  const asRoot = (script: string): Promise<string> =>
    inside(`nsenter --user=${user} --setuid 0 --setgid 0 sh -c '${script}'`);

  test("has ids that mounts of files can be mapped to, where their file system allows that", async () => {
    await pinNamespaces({ user, users });
    const [file, mounts] = [join(dir, "file"), await mountsBelow(dir)];
    writeFileSync(file, "");
    assert.equal(await canMapIds(file, user), true);
    assert.equal(await canMapIds(dir, user), true);
    assert.equal(await canMapIds("/proc/self/comm", user), false);
    assert.equal(await canMapIds("/sys", user), false);
    await assert.rejects(canMapIds(join(dir, "none"), user), (e) => isKind(e, "not-found"));
    await assert.rejects(canMapIds(file, join(dir, "none")), (e) => isKind(e, "not-found"));
    assert.deepEqual(await mountsBelow(dir), mounts);
    rmSync(file);
    await unpinUsers();
  });

  test("maps the ids, and the other namespaces belong to it", async () => {
    const [namespaces, name, dumpable] = [ours(), hostname(), statSync("/proc/self/environ").uid];
    await pinNamespaces({ ...pins, user, users, hostname: "pod-1" });
    for (const path of [...all, user]) assert.equal(isNamespaceMounted(path), true);
    assert.match(await asRoot("cat /proc/self/uid_map"), /^\s*0\s+300000\s+1000$/);
    assert.match(await asRoot("cat /proc/self/gid_map"), /^\s*0\s+400000\s+1000$/);
    // Only the owner of a namespace may do these.
    assert.equal(await asRoot("hostname pod-2; hostname"), "pod-2");
    assert.equal(await asRoot("ip link set lo mtu 1400; ip -o link show lo | grep -c UP"), "1");
    await assert.rejects(
      inside(`nsenter --user=${user} --setuid 0 --setgid 0 hostname x`, []),
      /not permitted|must be root/i,
    );
    assert.deepEqual([ours(), hostname()], [namespaces, name]);
    assert.equal(statSync("/proc/self/environ").uid, dumpable, "we are as dumpable as before");
    await unpinUsers();
  });

  test("makes a user namespace alone, with one id", async () => {
    const one = { containerId: 0, hostId: 7, length: 1 };
    await pinNamespaces({ user, users: { uids: one, gids: one } });
    assert.deepEqual(all.map(existsSync), [false, false, false]);
    await unpinUsers();
  });

  test("leaves nothing when a map is rejected or a file exists", async () => {
    const fds = openFds().size;
    const none = { uids: { ...range, length: 0 }, gids: range };
    await assert.rejects(
      pinNamespaces({ ...pins, user, users: none }),
      /write ".*uid_map".*EINVAL/,
    );
    writeFileSync(pins.uts, "somebody's");
    await assert.rejects(pinNamespaces({ ...pins, user, users }), /create ".*uts"/);
    assert.deepEqual([...all, user].map(existsSync), [false, false, true, false]);
    await assert.rejects(pinNamespaces({ user }), (e) => isKind(e, "invalid-argument"));
    assert.equal(openFds().size, fds);
    await unpinNamespace(pins.uts);
  });

  test("leaves no process, mount or descriptor after 50 rounds, some concurrent", async () => {
    const children = (): string => readFileSync(`/proc/self/task/${process.pid}/children`, "utf8");
    const [mounts, fds, before] = [await mountsBelow(dir), openFds().size, children()];
    for (let round = 0; round < 10; round++) {
      const paths = Array.from({ length: 5 }, (_, i) => join(dir, `user-${i}`));
      await Promise.all(paths.map((path) => pinNamespaces({ user: path, users })));
      assert.equal(new Set(paths.map(inodeOf)).size, 5);
      await Promise.all(paths.map(unpinNamespace));
    }
    assert.deepEqual(await mountsBelow(dir), mounts);
    assert.equal(openFds().size, fds);
    assert.equal(children(), before);
  });

  test("writes sysctls as its root, also those of ipc", async () => {
    await pinNamespaces({ ...pins, user, users });
    const { net, ipc } = pins;
    await writeSysctls({ user, net, ipc }, [
      ["kernel.shmmni", "1234"],
      ["net.ipv4.ip_unprivileged_port_start", "77"],
    ]);
    const files = "/proc/sys/kernel/shmmni /proc/sys/net/ipv4/ip_unprivileged_port_start";
    assert.equal(await inside(`cat ${files}`), "1234\n77");
    await assert.rejects(
      writeSysctls({ user, net, ipc }, [["net.ipv4.nope", "1"]]),
      /open "\/proc\/sys\/net\/ipv4\/nope".*ENOENT/,
    );
    await assert.rejects(
      writeSysctls({ user: join(dir, "none") }, [["kernel.shmmni", "1"]]),
      /none/,
    );
    await unpinUsers();
  });
});

describe("unpinNamespace()", () => {
  test("succeeds when there is nothing, and when the mount was removed", async () => {
    await unpinNamespace(join(dir, "none"));
    await pinNamespaces({ net: pins.net });
    await unmount(pins.net);
    assert.equal(isNamespaceMounted(pins.net), false);
    await unpinNamespace(pins.net);
    assert.equal(existsSync(pins.net), false);
  });

  test("rejects a directory instead of removing it", async () => {
    const directory = join(dir, "directory");
    mkdirSync(directory);
    await assert.rejects(unpinNamespace(directory), /unlink ".*directory"/);
    assert.equal(existsSync(directory), true);
  });
});

describe("isNamespaceMounted()", () => {
  test("is false for a missing path, a plain file and another mount", async () => {
    const file = join(dir, "file");
    writeFileSync(file, "");
    assert.equal(isNamespaceMounted(join(dir, "none")), false);
    assert.equal(isNamespaceMounted(join(file, "below")), false);
    assert.equal(isNamespaceMounted(file), false);
    await bindMount("/etc/hostname", file);
    assert.equal(isNamespaceMounted(file), false);
    await unmount(file);
  });
});

describe("watchMounts()", () => {
  test("reports within a second that a namespace was unmounted, and nothing after disposal", async () => {
    const fds = openFds().size;
    await pinNamespaces({ net: pins.net });
    let changes = 0;
    {
      using _watch = watchMounts(() => changes++);
      await until("the first call", () => changes > 0, 1000);
      const calls = changes;
      const result = await run({ file: "umount", args: [pins.net], env, timeoutMs: 10_000 });
      assert.equal(result.code, 0, String(result.stderr));
      await until("the change is reported", () => changes > calls, 1000);
      assert.equal(isNamespaceMounted(pins.net), false);
    }
    const calls = changes;
    await unpinNamespace(pins.net);
    await pinNamespaces({ net: pins.net });
    await unpinNamespace(pins.net);
    assert.equal(changes, calls);
    assert.equal(openFds().size, fds);
  });

  test("misses no early change", async () => {
    for (let round = 0; round < 50; round++) {
      await pinNamespaces({ net: pins.net });
      const gone = Promise.withResolvers<undefined>();
      using _watch = watchMounts(() => {
        if (!isNamespaceMounted(pins.net)) gone.resolve(undefined);
      });
      const unmounted = unmount(pins.net);
      // Blocks the event loop, like a long turn.
      for (const end = performance.now() + 3; performance.now() < end; );
      await unmounted;
      assert.ok(await within(gone.promise, 1000), "the change is reported");
      await unpinNamespace(pins.net);
    }
  });
});

describe("writeSysctls()", () => {
  const port = "/proc/sys/net/ipv4/ip_unprivileged_port_start";
  const shm = "/proc/sys/kernel/shmmni";

  test("writes in the given namespaces and nowhere else", async () => {
    const before = [readFileSync(port, "utf8"), readFileSync(shm, "utf8")];
    await pinNamespaces(pins);
    await writeSysctls({ net: pins.net, ipc: pins.ipc }, [
      ["net.ipv4.ip_unprivileged_port_start", "77"],
      ["kernel/shmmni", "1234"],
    ]);
    assert.equal(await inside(`cat ${port} ${shm}`), "77\n1234");
    assert.deepEqual([readFileSync(port, "utf8"), readFileSync(shm, "utf8")], before);
    await unpinAll();
  });

  test("names the key that fails, and rejects an invalid key before it writes", async () => {
    await pinNamespaces({ net: pins.net });
    const net = { net: pins.net };
    await assert.rejects(
      writeSysctls(net, [["net.ipv4.nope", "1"]]),
      /open "\/proc\/sys\/net\/ipv4\/nope".*ENOENT/,
    );
    await assert.rejects(
      writeSysctls(net, [["net.ipv4.ip_unprivileged_port_start", "many"]]),
      /write "\/proc\/sys\/net\/ipv4\/ip_unprivileged_port_start".*EINVAL/,
    );
    const port0 = ["net.ipv4.ip_unprivileged_port_start", "0"] as const;
    await assert.rejects(writeSysctls(net, [port0, ["net/../kernel/panic", "1"]]), (e) =>
      isKind(e, "invalid-argument"),
    );
    assert.equal(await inside(`cat ${port}`, [pins.net]), "1024");
    await assert.rejects(
      writeSysctls({ net: join(dir, "none") }, [port0]),
      /open namespace ".*none"/,
    );
    await unpinNamespace(pins.net);
  });
});
