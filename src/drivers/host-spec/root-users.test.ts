import assert from "node:assert/strict";
import { mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { isKind } from "../../base/errors.ts";
import { resolveUser, rootUsers } from "./root-users.ts";

const passwd =
  "root:x:0:0:root:/root:/bin/sh\nwebs:x:32:45:web:\nweb:x:33:44::/var/www:/bin/false\n\nbroken line\n1000:x:7:8:::\nbad:x:a:b:::\nlast:x:0034:9";
const groups =
  "root:x:0:\nweb:x:44:\n200:x:0:\nusers:x:100:web,other\nempty:x:101:\nmore:x:102:web\nwebs:x:103:webs,aweb:web\n:x:104:web\nbad:x:a:web\n";
const wanted = (user: string, mergeImageGroups = true) => ({
  user,
  supplementalGroups: [5n],
  mergeImageGroups,
});

test("resolveUser() takes names and numbers, with and without a group", () => {
  for (const [user, uid, gid, more] of [
    ["", 0n, 0n, []],
    ["web", 33n, 44n, [100n, 102n]],
    ["33", 33n, 44n, [100n, 102n]],
    ["web:users", 33n, 100n, [100n, 102n]],
    ["web:7", 33n, 7n, [100n, 102n]],
    ["4711", 4711n, 0n, []],
    ["4711:users", 4711n, 100n, []],
    ["1000", 1000n, 0n, []], // a number is not a name, even where a user has that name
    ["33:200", 33n, 200n, [100n, 102n]],
    ["34", 34n, 9n, []],
  ] as const) {
    const found = resolveUser(wanted(user), passwd, groups);
    assert.deepEqual(found, { uid, gid, supplementalGroups: [...more, 5n] }, user);
  }
});

test("resolveUser() leaves the image's groups out where they are not to be merged", () => {
  assert.deepEqual(resolveUser(wanted("web", false), passwd, groups).supplementalGroups, [5n]);
});

test("resolveUser() refuses unknown names, and numbers that are not ids", () => {
  assert.throws(
    () => resolveUser(wanted("nobody"), passwd, groups),
    (error) => isKind(error, "invalid-argument"),
  );
  for (const name of ["bad", "\nweb", "we", "x"]) {
    assert.throws(
      () => resolveUser(wanted(name), passwd, groups),
      (error) => isKind(error, "invalid-argument"),
      name,
    );
  }
  assert.throws(
    () => resolveUser(wanted("web:none"), passwd, groups),
    (error) => isKind(error, "invalid-argument"),
  );
  assert.throws(
    () => resolveUser(wanted("4294967295"), passwd, groups),
    (error) => isKind(error, "invalid-argument"),
  );
});

test("resolveUser() keeps nothing of lines that are not about the user", () => {
  const line = "a:0:10:1000:web\n";
  const many = line.repeat((16 * 1024 * 1024) / line.length);
  const before = process.memoryUsage().heapUsed;
  assert.deepEqual(resolveUser(wanted("zed"), `${many}zed:x:1:2\n`, many).gid, 2n);
  // All of the lines would be more than 100 MiB of objects.
  assert.ok(process.memoryUsage().heapUsed - before < 64 * 1024 * 1024);
});

test("resolveUser() refuses more groups than a process can have", () => {
  const lines = (count: number): string =>
    Array.from({ length: count }, (_, at) => `g:x:${at}:web\n`).join("");
  assert.equal(resolveUser(wanted("web"), passwd, lines(65_536)).supplementalGroups.length, 65_536);
  assert.throws(
    () => resolveUser(wanted("web"), passwd, lines(65_537)),
    (error) => isKind(error, "invalid-argument"),
  );
});

test("rootUsers reads the root's own files, also with links that lead out of it", async (t) => {
  const directory = mkdtempSync(join(tmpdir(), "davit-users-"));
  t.after(() => {
    rmSync(directory, { recursive: true });
  });
  const root = join(directory, "root");
  mkdirSync(join(root, "etc"), { recursive: true });
  mkdirSync(join(root, "real"));
  mkdirSync(join(directory, "real"));
  writeFileSync(join(directory, "real", "passwd"), "web:x:666:666:::\n");
  writeFileSync(join(root, "real", "passwd"), "web:x:33:44:::\n");
  symlinkSync("../../../../real/passwd", join(root, "etc", "passwd"));
  assert.equal((await rootUsers.resolveUser(root, wanted("web"))).uid, 33n);
  symlinkSync("/real/loop", join(root, "real", "loop"));
  symlinkSync("/real/loop", join(root, "etc", "group"));
  assert.equal((await rootUsers.resolveUser(root, wanted("web"))).gid, 44n);
  assert.deepEqual(await rootUsers.resolveUser(directory, wanted("12")), {
    uid: 12n,
    gid: 0n,
    supplementalGroups: [5n],
  });
});
