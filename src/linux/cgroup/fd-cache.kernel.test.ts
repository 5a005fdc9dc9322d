import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { after, before, test } from "node:test";
import { testMark } from "../../../test/support/belongs.ts";
import { cgroupDirs, createCgroup, detectCgroups, removeCgroup } from "./index.ts";
import { CgroupFdCache } from "./fd-cache.ts";
import { openFds } from "../testing/leaks.ts";

const layout = detectCgroups();
const parent = `/${testMark}-fd-cache`;
const paths = ["/one", "/other"].map((name) => `${parent}${name}`);

/** Files of each hierarchy, and one that exists in none. */
const filesOf = (path: string): readonly string[] =>
  cgroupDirs(layout, path).flatMap((directory) =>
    ["cgroup.procs", "gone", "cgroup.threads", "tasks", "notify_on_release"].map(
      (name) => `${directory}/${name}`,
    ),
  );
const textOf = (path: string): string | null => {
  try {
    return readFileSync(path, "latin1");
  } catch {
    return null;
  }
};

before(async () => {
  for (const path of paths) await createCgroup(layout, path);
});
after(async () => {
  await removeCgroup(layout, parent);
});

test("CgroupFdCache reads current values, does not keep cgroups alive, and closes all files", async () => {
  const cache = new CgroupFdCache();
  const fds = openFds().size;
  const all = paths.map((path) => cache.add(filesOf(path)));
  const expected = paths.map((path) => filesOf(path).map(textOf));
  assert.ok(expected.flat().some((text) => text !== null));
  const read = (): Promise<unknown> => Promise.all(all.map((entry) => entry.read()));
  assert.deepEqual(await read(), expected);
  const open = openFds().size;
  assert.ok(open > fds);
  assert.deepEqual(await read(), expected, "each read starts at the beginning");
  assert.equal(openFds().size, open, "nothing is opened again");

  // Open files do not keep a cgroup alive.
  await removeCgroup(layout, parent);
  const nothing = expected.map((texts) => texts.map(() => null));
  assert.deepEqual(await read(), nothing);
  assert.equal(openFds().size, fds);
  for (const path of paths) await createCgroup(layout, path);
  assert.deepEqual(await read(), expected);
  for (const entry of all) entry.release();
  assert.equal(openFds().size, fds);
});
