import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import {
  chmodSync,
  chownSync,
  mkdirSync,
  mkdtempSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";
import { listDevices } from "./native.ts";
import { openFds } from "../testing/leaks.ts";

const dir = mkdtempSync(join(tmpdir(), "davit-devices-"));
after(() => {
  rmSync(dir, { recursive: true });
});

test("listDevices() finds devices in and below a directory, and nothing else", async () => {
  mkdirSync(join(dir, "all/below/fu\u00df"), { recursive: true });
  mkdirSync(join(dir, "all/empty"));
  const node = (name: string, ...numbers: string[]): void => {
    execFileSync("mknod", [join(dir, "all", name), ...numbers]);
  };
  node("null", "c", "1", "3");
  node("below/disk", "b", "4095", "1048575");
  node("below/fu\u00df/with space\n", "c", "10", "200");
  node("fifo", "p");
  writeFileSync(join(dir, "all/file"), "");
  symlinkSync("null", join(dir, "all/link"));
  symlinkSync("..", join(dir, "all/below/up"));
  chownSync(join(dir, "all/null"), 7, 4_000_000_000);
  chmodSync(join(dir, "all/null"), 0o4621);
  chmodSync(join(dir, "all/below/disk"), 0o600);
  chmodSync(join(dir, "all/below/fu\u00df/with space\n"), 0o644);
  const own = { uid: 0, gid: 0 };
  const fds = openFds().size;
  const found = await listDevices(join(dir, "all"));
  assert.deepEqual(
    found.toSorted((one, other) => (one.path < other.path ? -1 : 1)),
    [
      { path: "/below/disk", type: "b", major: 4095, minor: 1048575, mode: 0o600, ...own },
      {
        path: "/below/fu\u00df/with space\n",
        type: "c",
        major: 10,
        minor: 200,
        mode: 0o644,
        ...own,
      },
      {
        path: "/null",
        type: "c",
        major: 1,
        minor: 3,
        mode: 0o4621,
        uid: 7,
        gid: 4_000_000_000,
      },
    ],
  );
  assert.deepEqual(await listDevices(join(dir, "all/link")), [
    { path: "", type: "c", major: 1, minor: 3, mode: 0o4621, uid: 7, gid: 4_000_000_000 },
  ]);
  for (const name of ["gone", "all/file", "all/fifo", "all/empty", "all/file/x"]) {
    assert.deepEqual(await listDevices(join(dir, name)), [], name);
  }
  assert.equal(openFds().size, fds);
});

test("listDevices() finds many devices, and those of this host", async () => {
  const directory = join(dir, "many");
  mkdirSync(directory);
  const names = Array.from({ length: 300 }, (_none, index) => join(directory, String(index)));
  execFileSync("sh", ["-c", 'for name; do mknod "$name" c 1 3; done', "sh", ...names]);
  assert.equal((await listDevices(directory)).length, 300);
  const host = await listDevices("/dev");
  const zero = host.find(({ path }) => path === "/zero");
  assert.deepEqual([zero?.type, zero?.major, zero?.minor], ["c", 1, 5]);
});

test("listDevices() leaves out devices that are too deep, as any user can make them in /dev/shm", async () => {
  const deep = Array.from({ length: 100 }, () => "d").join("/");
  mkdirSync(join(dir, "deep", deep), { recursive: true });
  for (const name of [`${deep}/too-deep`, "d/d/d/one"]) {
    execFileSync("mknod", [join(dir, "deep", name), "c", "1", "3"]);
  }
  const found = await listDevices(join(dir, "deep"));
  assert.deepEqual(
    found.map(({ path }) => path),
    ["/d/d/d/one"],
  );
});
