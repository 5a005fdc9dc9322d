import assert from "node:assert/strict";
import { mkdirSync, mkdtempSync, readFileSync, readlinkSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";

import { isKind } from "../../base/errors.ts";
import { makePrivateBind, unmount } from "../mount/index.ts";
import { pinNamespaces, unpinNamespace } from "../namespace/index.ts";
import { readFileInNamespaces, readFiles, readFilesInNamespace } from "./native.ts";
import { openFds } from "../testing/leaks.ts";

const dir = mkdtempSync(join(tmpdir(), "davit-read-"));
const net = join(dir, "net");

before(async () => {
  await makePrivateBind(dir);
  await pinNamespaces({ net });
});
after(async () => {
  await unpinNamespace(net);
  await unmount(dir);
  rmSync(dir, { recursive: true });
});

test("readFiles() gives the text of each file, and null for those that cannot be read", async () => {
  const [small, large, huge] = ["small", "large", "huge"].map((name) => join(dir, name));
  assert.ok(small !== undefined && large !== undefined && huge !== undefined);
  writeFileSync(small, "a\xe4\n", "latin1");
  writeFileSync(large, "x".repeat(60_000));
  writeFileSync(huge, "x".repeat(70_000));
  assert.deepEqual(await readFiles([small, join(dir, "gone"), large, dir, huge]), [
    "a\xe4\n",
    null,
    "x".repeat(60_000),
    null,
    null,
  ]);
  assert.deepEqual(await readFiles([]), []);
  assert.deepEqual(await readFiles(["/proc/sys/kernel/random/boot_id"]), [
    readFileSync("/proc/sys/kernel/random/boot_id", "latin1"),
  ]);
});

test("readFiles() finds files in any directories and any order", async () => {
  for (const directory of ["one", "one/two", "other"]) {
    mkdirSync(join(dir, directory));
    for (const name of ["a", "b"])
      writeFileSync(join(dir, directory, name), `${directory}/${name}`);
  }
  const names =
    "one/a one/b one/two/a one/two/gone one/two/b gone/a gone/b other/a one/a one/two other/b other/a";
  const paths = names.split(" ").map((name) => join(dir, name));
  const expected = paths.map((path) => {
    const name = path.slice(dir.length + 1);
    return name.includes("gone") || name === "one/two" ? null : name;
  });
  const fds = openFds().size;
  assert.deepEqual(await readFiles(paths), expected);
  assert.deepEqual(await readFiles(paths.toReversed()), expected.toReversed());
  assert.equal(openFds().size, fds);
});

test("readFilesInNamespace() sees the namespace, and this process stays in its own", async () => {
  const before = readlinkSync("/proc/self/ns/net");
  const fds = openFds().size;
  const [text] = await readFilesInNamespace({ net }, ["/proc/thread-self/net/dev"]);
  const names = [...(text ?? "").matchAll(/^\s*(\S+):/gm)].map(([, name]) => name);
  assert.deepEqual(names, ["lo"]);
  const [pinned, own] = await readFilesInNamespace({ net }, [
    "/proc/thread-self/net/if_inet6",
    "/proc/self/net/if_inet6",
  ]);
  assert.match(pinned ?? "", / lo$/m);
  assert.equal(own, readFileSync("/proc/self/net/if_inet6", "latin1"));
  assert.equal(readlinkSync("/proc/self/ns/net"), before);
  assert.equal(openFds().size, fds);
});

test("readFilesInNamespace() reports an invalid namespace", async () => {
  const file = join(dir, "plain");
  writeFileSync(file, "");
  const dev = ["/proc/thread-self/net/dev"];
  await assert.rejects(readFilesInNamespace({ net: join(dir, "gone") }, dev), (error) =>
    isKind(error, "not-found"),
  );
  await assert.rejects(readFilesInNamespace({ net: file }, dev), (error) =>
    isKind(error, "invalid-argument"),
  );
});

test("readFileInNamespaces() sees each namespace, and nothing of an invalid one", async () => {
  const before = readlinkSync("/proc/self/ns/net");
  const fds = openFds().size;
  const file = join(dir, "plain");
  writeFileSync(file, "");
  const nets = [net, join(dir, "gone"), file, net];
  const texts = await readFileInNamespaces("/proc/thread-self/net/dev", nets);
  assert.deepEqual(
    texts.map((text) => text && [...text.matchAll(/^\s*(\S+):/gm)].map(([, name]) => name)),
    [["lo"], null, null, ["lo"]],
  );
  assert.deepEqual(await readFileInNamespaces("/proc/thread-self/gone", [net]), [null]);
  assert.deepEqual(await readFileInNamespaces("/proc/thread-self/net/dev", []), []);
  assert.equal(readlinkSync("/proc/self/ns/net"), before);
  assert.equal(openFds().size, fds);
});
